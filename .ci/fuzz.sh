#!/usr/bin/env bash
# usage: fuzz.sh TIME MODULE...
# Runs each fuzz target of the modules for TIME, one after the other.
set -euo pipefail
time=$1
shift
root=$PWD
passed=0
files='{{$d := .Dir}}{{range .TestGoFiles}}{{$d}}/{{.}}
{{end}}{{range .XTestGoFiles}}{{$d}}/{{.}}
{{end}}'

# fuzz runs the target $2 of the package $1. Before Go 1.27 a target may fail
# with "context deadline exceeded" when its time ends (go.dev/issue/75804). That
# is no finding: a finding names its input.
fuzz() {
  local out
  if out=$(go test -run '^$' -fuzz "^$2\$" -fuzztime "$time" -fuzzminimizetime 1x "$1" 2>&1); then
    tail -n 1 <<<"$out"
  elif grep -q '^ *context deadline exceeded$' <<<"$out" && ! grep -qE 'Failing input|panic|DATA RACE' <<<"$out"; then
    echo "ok: ended by its time"
  else
    grep -v '^fuzz: elapsed' <<<"$out"
    return 1
  fi
}

for module in "$@"; do
  cd "$root/$module"
  targets=$(go list -f "$files" ./... | sed '/^$/d' | tr '\n' '\0' | xargs -0 -r grep -HoE '^func Fuzz[A-Za-z0-9_]+' || true)
  while IFS=: read -r file func; do
    [ -n "$file" ] || continue
    package=$(dirname "$file")
    target=${func#func }
    echo "-- fuzz $target for $time in ${package#"$root"/}"
    fuzz "$package" "$target"
    passed=$((passed + 1))
  done <<<"$targets"
done
echo "fuzz: $passed targets, no finding"
