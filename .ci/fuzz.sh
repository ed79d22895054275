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
for module in "$@"; do
  cd "$root/$module"
  targets=$(go list -f "$files" ./... | sed '/^$/d' | xargs -r grep -HoE '^func Fuzz[A-Za-z0-9_]+' || true)
  while IFS=: read -r file func; do
    [ -n "$file" ] || continue
    package=$(dirname "$file")
    target=${func#func }
    echo "-- fuzz $target for $time in ${package#"$root"/}"
    go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" -fuzzminimizetime 1x "$package" | grep -v '^fuzz: elapsed'
    passed=$((passed + 1))
  done <<<"$targets"
done
echo "fuzz: $passed targets, no finding"
