#!/usr/bin/env bash
# usage: timed.sh MAKE TARGET...
# Makes the targets in their order and says at the end how long each took, also
# if one failed.
set -uo pipefail
make=$1
shift
began=$SECONDS
table=
for target in "$@"; do
  start=$SECONDS
  $make --no-print-directory "$target"
  failed=$?
  table+=$(printf '%5dm %02ds  %s' $(((SECONDS - start) / 60)) $(((SECONDS - start) % 60)) "$target")$'\n'
  [ "$failed" = 0 ] || table+="           $target failed"$'\n'
  [ "$failed" = 0 ] || break
done
printf '%s%5dm %02ds  in all\n' "$table" $(((SECONDS - began) / 60)) $(((SECONDS - began) % 60))
exit "$failed"
