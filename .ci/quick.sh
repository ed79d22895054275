#!/usr/bin/env bash
# usage: quick.sh
# What a change can be checked by within a minute on a warm cache: the format
# and vet of what changed, the rules of the house that build nothing, and the
# short tests of the packages that changed, all against where the work left
# main, the files that are not committed included.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
tool=(go tool "-modfile=$root/internal/tools/go.mod")

base=$(git merge-base HEAD main 2>/dev/null || git rev-parse HEAD)
changed=$({ git diff --name-only --diff-filter=d "$base"; git ls-files --others --exclude-standard; } | sort -u)
sources=$(grep '\.go$' <<<"$changed" | grep -v '/testdata/' || true)

began=$SECONDS
step() { printf -- '-- %-7s %3ds\n' "$1" $((SECONDS - began)); began=$SECONDS; }

if [ -n "$sources" ]; then
  unformatted=$("${tool[@]}" gofumpt -l $sources)
  [ -z "$unformatted" ] || { echo "gofumpt would change (make fmt):"; echo "$unformatted"; exit 1; }
fi
step format

# module prints the folder of the module that holds the folder $1.
module() {
  local at=$1
  while [ "$at" != . ] && [ ! -f "$at/go.mod" ]; do at=$(dirname "$at"); done
  echo "$at"
}

declare -A packages=()
for dir in $(xargs -r -n 1 dirname <<<"$sources" | sort -u); do
  at=$(module "$dir")
  packages[$at]+=" ./$(realpath --relative-to="$at" "$dir")"
done
for at in "${!packages[@]}"; do
  (cd "$at" && go vet ${packages[$at]})
done
step vet

go test -short ./internal/house
step house

for at in "${!packages[@]}"; do
  list=$(cd "$at" && go list ${packages[$at]} | grep -v '/internal/house$' || true)
  if [ -n "$list" ]; then (cd "$at" && go test -short -timeout 5m $list); fi
done
step tests
