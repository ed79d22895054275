#!/usr/bin/env bash
# Gets qemu-aarch64-static, which runs arm64 programs, from Debian's packages. As
# root with CI=true it does so by itself.
set -euo pipefail

if command -v qemu-aarch64-static >/dev/null; then exit 0; fi
if [ "${CI:-}" != true ] || [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo 'qemu: qemu-aarch64-static is not here: apt install qemu-user-static'
  exit 1
fi
log=$(mktemp)
trap 'rm -f "$log"' EXIT
for try in 1 2; do
  if DEBIAN_FRONTEND=noninteractive apt-get -qq install -y -o DPkg::Lock::Timeout=300 \
    --no-install-recommends qemu-user-static >"$log" 2>&1; then
    exit 0
  fi
  if [ "$try" = 1 ]; then apt-get -qq -o DPkg::Lock::Timeout=300 update >/dev/null 2>&1 || true; fi
done
tail -n 20 "$log"
exit 1
