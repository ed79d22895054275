#!/bin/sh
# usage: notices.sh PACKAGE [FLAGS OF go list]
# Prints the licences and notices of every module that PACKAGE links, and Go's,
# as they ask to be handed on with a program. The Dockerfiles of the samples put
# them into their images.
set -eu
package=$1
shift
# A part of a module may have a licence of its own, beside its packages.
folders=$(go list -deps -f '{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}} {{.Dir}}
{{.Path}} {{.Version}} {{$.Dir}}{{end}}{{end}}' "$@" "$package")
{ echo "Go $(go env GOVERSION) $(go env GOROOT)"; echo "$folders"; } | sort -u | while read -r path version dir; do
  [ -n "$dir" ] || continue
  find "$dir" -maxdepth 1 -type f ! -name '*.go' \( -iname 'licen[cs]e*' -o -iname 'unlicen[cs]e*' -o -iname 'copying*' \
    -o -iname 'notice*' -o -iname 'patents*' \) | sort | while read -r file; do
    printf '==== %s %s: %s\n\n' "$path" "$version" "$(basename "$file")"
    cat "$file"
    echo
  done
done
