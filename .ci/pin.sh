#!/usr/bin/env bash
# usage: pin.sh >FILE
# Prints .ci/images.env with the digest that each image has now in its registry,
# so that what was built can be built again from the same bases.
set -euo pipefail
cd "$(dirname "$0")"
while read -r line; do
  case $line in
  *=*)
    image=${line#*=}
    image=${image%@*}
    digest=$(docker buildx imagetools inspect "$image" --format '{{.Manifest.Digest}}')
    [[ $digest == sha256:* ]] || { echo "pin: $image: no digest: $digest" >&2; exit 1; }
    echo "${line%%=*}=$image@$digest"
    ;;
  *) echo "$line" ;;
  esac
done <images.env
