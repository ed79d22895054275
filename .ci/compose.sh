#!/usr/bin/env bash
# Builds Compose v2 from its module and puts it into the cache folder, where
# tests find it. It takes some minutes the first time.
set -euo pipefail

version=v2.40.3
cache=${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/svcblocks/testenv
program=$cache/compose-$version/docker-compose
if [ -x "$program" ]; then exit 0; fi

mkdir -p "$cache"
exec 9>"$cache/.compose.lock"
flock 9
if [ -x "$program" ]; then exit 0; fi

# `go install` refuses the module for its exclude lines, so it is built as a
# requirement of an empty module.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
printf 'compose: building Compose %s\n' "$version"
printf 'module compose\n\ngo 1.26\n' >go.mod
{ go get "github.com/docker/compose/v2/cmd@$version" &&
  CGO_ENABLED=0 go build -trimpath -ldflags="-s -w -X github.com/docker/compose/v2/internal.Version=$version" \
    -o docker-compose github.com/docker/compose/v2/cmd; } >log 2>&1 || { tail -n 20 log; exit 1; }
mkdir -p "$(dirname "$program")"
mv docker-compose "$program"
