#!/usr/bin/env bash
# usage: bases.sh COMMAND...
# Runs COMMAND with DEBIAN_IMAGE and GO_IMAGE in its environment: the images
# that everything here is built from. Where they are not set already, and this
# is root with debootstrap at hand, they are made on this machine, from
# Debian's packages and the Go in use, and no registry is asked for anything.
# Elsewhere they are the usual ones by name.
#
# What debootstrap made is kept in $XDG_CACHE_HOME/svcblocks/deploy for a month.
set -euo pipefail

suite=trixie
go_version=$(go env GOVERSION 2>/dev/null || true)
cache=${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/svcblocks/deploy
rootfs=$cache/debian-$suite-$(uname -m).tar
debian=svcblocks-debian:$suite
golang=svcblocks-$go_version:$suite
work=

say() { printf 'bases: %s\n' "$*" >&2; }
there() { docker image inspect "$1" >/dev/null 2>&1; }
cleanup() { if [ -n "$work" ]; then rm -rf --one-file-system "$work"; fi; }
trap cleanup EXIT

# bootstrap makes the Debian file system, unless there is a recent one.
bootstrap() {
  if [ -n "$(find "$rootfs" -mtime -30 2>/dev/null)" ]; then return; fi
  work=$(mktemp -d)
  say "debootstrap $suite, a minute"
  debootstrap --variant=minbase --include=ca-certificates,tzdata "$suite" "$work/root" >"$work/log" 2>&1 ||
    { tail -n 20 "$work/log" >&2; exit 1; }
  printf 'deb http://deb.debian.org/debian %s main\ndeb http://deb.debian.org/debian-security %s-security main\n' \
    "$suite" "$suite" >"$work/root/etc/apt/sources.list"
  rm -rf "$work/root"/var/cache/apt/*.bin "$work/root"/var/cache/apt/archives/*.deb "$work/root"/var/lib/apt/lists/* "$work/root"/var/log/*
  tar -C "$work/root" --one-file-system -cf "$work/rootfs.tar" .
  mv "$work/rootfs.tar" "$rootfs"
  cleanup
  work=
}

# make_bases puts both images into the engine's store.
make_bases() {
  mkdir -p "$cache"
  exec 9>"$cache/.lock"
  flock 9
  if ! there "$debian"; then
    bootstrap
    say "import $debian"
    docker import "$rootfs" "$debian" >/dev/null
  fi
  if ! there "$golang"; then
    bootstrap
    say "import $golang"
    work=$(mktemp -d)
    cp "$rootfs" "$work/go.tar"
    tar -C "$(go env GOROOT)" --owner=0 --group=0 --transform='s,^\.,usr/local/go,' -rf "$work/go.tar" \
      ./VERSION ./LICENSE ./PATENTS ./go.env ./bin ./lib ./pkg/include ./pkg/tool ./src
    docker import --change 'ENV PATH=/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
      "$work/go.tar" "$golang" >/dev/null
    cleanup
    work=
  fi
  exec 9>&-
}

if [ -z "${DEBIAN_IMAGE:-}" ] && [ -z "${GO_IMAGE:-}" ] && [ "$(id -u)" = 0 ] && [ -n "$go_version" ] &&
  command -v debootstrap >/dev/null && command -v flock >/dev/null; then
  make_bases
  DEBIAN_IMAGE=$debian GO_IMAGE=$golang
fi
images=$(dirname "$0")/images.env
named() { sed -n "s/^$1=//p" "$images"; }
export DEBIAN_IMAGE=${DEBIAN_IMAGE:-$(named DEBIAN_IMAGE)} GO_IMAGE=${GO_IMAGE:-$(named GO_IMAGE)}
"$@"
