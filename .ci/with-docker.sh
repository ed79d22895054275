#!/usr/bin/env bash
# usage: with-docker.sh COMMAND...
# Runs COMMAND with a Docker engine, both versions of compose, and debootstrap to
# make base images with. As root with CI=true on Debian it installs what is missing, and
# where no engine answers starts one for the command alone, on a socket and
# with a store of its own, which leaves the machine's firewall alone, and ends
# it by its process id.
set -euo pipefail

say() { printf 'docker: %s\n' "$*"; }
has() { command -v "$1" >/dev/null 2>&1; }
composes() { has docker-compose || docker compose version >/dev/null 2>&1; }
mine() { [ "${CI:-}" = true ] && [ "$(id -u)" = 0 ] && has apt-get; }

work=$(mktemp -d)
pid=
policy=
end() {
  if [ -n "$pid" ] && kill -TERM "$pid" 2>/dev/null; then
    for _ in $(seq 300); do
      kill -0 "$pid" 2>/dev/null || break
      sleep 0.1
    done
    kill -KILL "$pid" 2>/dev/null || true
  fi
  # The engine leaves its network namespaces mounted.
  awk -v dir="$work/" 'index($2, dir) == 1 { print $2 }' /proc/mounts | sort -r | xargs -r -n 1 umount || true
  rm -rf --one-file-system "$work" || true
  if [ -n "$policy" ]; then rm -f "$policy"; fi
}
trap end EXIT

# add installs packages; no daemon is started by it.
add() {
  # 101 tells the package manager that no daemon may start (policy-rc.d).
  if [ ! -e /usr/sbin/policy-rc.d ]; then
    policy=/usr/sbin/policy-rc.d
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
  fi
  say "installing $*"
  for try in 1 2; do
    if DEBIAN_FRONTEND=noninteractive apt-get -qq install -y -o DPkg::Lock::Timeout=300 \
      --no-install-recommends "$@" >"$work/apt.log" 2>&1; then
      return
    fi
    if [ "$try" = 1 ]; then apt-get -qq -o DPkg::Lock::Timeout=300 update >"$work/update.log" 2>&1 || true; fi
  done
  tail -n 20 "$work/apt.log"
  exit 1
}

if mine; then
  packages=()
  docker version >/dev/null 2>&1 || { has docker && has dockerd; } || packages+=(docker.io)
  composes || packages+=(docker-compose)
  has debootstrap || packages+=(debootstrap)
  if [ ${#packages[@]} -gt 0 ]; then add "${packages[@]}"; fi
  "$(dirname "$0")/compose.sh"
fi

if docker version >/dev/null 2>&1; then
  "$@"
  exit
fi
if ! mine; then
  say "no engine answers: start one, or set DOCKER_HOST; as root with CI=true one is installed"
  [ "${SVCBLOCKS_REQUIRE:-}" != all ] || exit 1
  exit 0
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
