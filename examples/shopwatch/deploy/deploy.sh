#!/usr/bin/env bash
# usage: deploy.sh image [TARGET] | images | up [PROFILE] | down
#
#   image   the service's image, for TARGET prod (the default) or dev
#   images  every image of compose.prod.yaml, and of its tests, a real Vault included
#   up      builds and starts what PROFILE (prod, dev or vault) holds
#   down    ends the containers; volumes and secrets stay
set -euo pipefail
cd "$(dirname "$0")"
export VERSION=${VERSION:-$(git describe --tags --always --dirty 2>/dev/null || echo development)}
export REVISION=${REVISION:-$(git rev-parse HEAD 2>/dev/null || echo unknown)}

# build runs a command with base images, and with a module proxy that holds
# what the service is made of.
build() {
  if command -v go >/dev/null; then
    (cd ../.. && go list -deps -tags nodemo ./shopwatch && go list -deps ./shopwatch) >/dev/null
    ../../../.ci/bases.sh go run ./goproxy "$@"
  else
    ../../../.ci/bases.sh "$@"
  fi
}

# Settings of your own go into compose.override.yaml.
files=(-f ../compose.prod.yaml)
if [ -e ../compose.override.yaml ]; then files+=(-f ../compose.override.yaml); fi

case ${1:-} in
image)
  target=${2:-prod}
  tag=latest
  if [ "$target" != prod ]; then tag=$target; fi
  build docker build --network host --target "$target" -t "svcblocks-service:$tag" \
    --build-arg GO_IMAGE --build-arg DEBIAN_IMAGE --build-arg GOPROXY --build-arg VERSION --build-arg REVISION \
    -f ../Dockerfile ../../..
  ;;
images)
  go run ./secrets ../secrets
  build ./compose.sh -f ../compose.prod.yaml -f ../compose.test.yaml --profile prod build
  vault=$(mktemp -d)
  trap 'rm -rf "$vault"' EXIT
  (cd ../../../internal/vaultserver && CGO_ENABLED=0 go build -trimpath -ldflags='-s -w' -o "$vault/vaultserver" .)
  printf 'FROM scratch\nCOPY vaultserver /vaultserver\nENTRYPOINT ["/vaultserver"]\n' >"$vault/Dockerfile"
  docker build -q -t svcblocks-test-vault "$vault"
  ;;
up)
  go run ./secrets ../secrets
  VAULT_DEV_TOKEN=$(cat ../secrets/vault_token)
  export VAULT_DEV_TOKEN
  build ./compose.sh "${files[@]}" --profile "${2:-prod}" up -d --build
  echo "status page at https://localhost:${HTTPS_PORT:-8443}/"
  ;;
down)
  # A profile that is not named is not ended.
  ./compose.sh "${files[@]}" --profile prod --profile dev --profile vault down
  ;;
*)
  sed -n '2,7s/^# \{0,1\}//p' "$0" >&2
  exit 2
  ;;
esac
