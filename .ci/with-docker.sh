#!/usr/bin/env bash
# usage: with-docker.sh COMMAND...
# Runs COMMAND with a Docker engine. Where none answers and this is root with
# CI=true on Debian, it installs one, starts it for the command alone, on a
# socket and with a store of its own, and ends it by its process id.
set -euo pipefail

say() { printf 'docker: %s\n' "$*"; }

if docker version >/dev/null 2>&1; then
  exec "$@"
fi
if [ "${CI:-}" != true ] || [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  say "no engine answers: start one, or set DOCKER_HOST; as root with CI=true one is installed"
  [ "${SVCBLOCKS_REQUIRE:-}" != all ] || exit 1
  exit 0
fi

work=$(mktemp -d)
pid=
end() {
  if [ -n "$pid" ] && kill -TERM "$pid" 2>/dev/null; then
    for _ in $(seq 100); do
      kill -0 "$pid" 2>/dev/null || break
      sleep 0.1
    done
    kill -KILL "$pid" 2>/dev/null || true
  fi
  # The engine leaves its network namespace mounted.
  awk -v dir="$work/" 'index($2, dir) == 1 { print $2 }' /proc/mounts | sort -r | xargs -r -n 1 umount || true
  rm -rf "$work" || true
}
trap end EXIT

if ! command -v dockerd >/dev/null; then
  # 101 tells the package manager's policy that no daemon may start (policy-rc.d).
  policy=/usr/sbin/policy-rc.d
  if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
    trap 'rm -f "$policy"; end' EXIT
  fi
  say "installing docker.io"
  if ! DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends docker.io >"$work/apt.log" 2>&1; then
    apt-get -qq update >>"$work/apt.log" 2>&1
    DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends docker.io >>"$work/apt.log" 2>&1 ||
      { tail -n 20 "$work/apt.log"; exit 1; }
  fi
fi

export DOCKER_HOST=unix://$work/docker.sock
for driver in overlay2 vfs; do
  dockerd --storage-driver="$driver" --data-root "$work/data" --exec-root "$work/exec" --pidfile "$work/pid" \
    --host "$DOCKER_HOST" --bridge=none --iptables=false --ip6tables=false >"$work/dockerd.log" 2>&1 &
  pid=$!
  for _ in $(seq 300); do
    docker version >/dev/null 2>&1 && break 2
    kill -0 "$pid" 2>/dev/null || break
    sleep 0.1
  done
  say "the $driver engine did not come up"
  kill -TERM "$pid" 2>/dev/null && wait "$pid" || true
  pid=
done
[ -n "$pid" ] || { tail -n 20 "$work/dockerd.log"; exit 1; }
say "engine $(docker version --format '{{.Server.Version}}') is up"
"$@"
