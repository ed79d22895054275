#!/usr/bin/env bash
# usage: windows.sh PACKAGE...
# Builds the tests of the root module's packages for windows/amd64 and runs
# them under Wine. As root with CI=true on Debian it installs what is missing.
#
# Wine 8, which Debian 12 has, lacks two things that Go's runtime asks for. Both
# are mended here and nowhere else: a library bcryptprimitives.dll of one
# function, and an answer of FileDispositionInformationEx that Go does not know
# as "not supported" (an overlay of one file of the standard library).
#
# What Wine cannot do, and Windows can, is skipped by internal/testenv, which
# WINEPREFIX in the environment tells.
set -euo pipefail

say() { printf 'windows: %s\n' "$*"; }
wine=/usr/lib/wine/wine64
compiler=x86_64-w64-mingw32-gcc-posix
cache=${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/svcblocks/windows

if ! [ -x $wine ] || ! command -v $compiler >/dev/null; then
  if [ "${CI:-}" = true ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    say 'installing wine64 and gcc-mingw-w64'
    log=$(mktemp)
    for try in 1 2; do
      if DEBIAN_FRONTEND=noninteractive apt-get -qq install -y -o DPkg::Lock::Timeout=300 \
        --no-install-recommends wine64 wine gcc-mingw-w64-x86-64-posix >"$log" 2>&1; then
        break
      fi
      [ "$try" = 1 ] || { tail -n 20 "$log"; exit 1; }
      apt-get -qq -o DPkg::Lock::Timeout=300 update >/dev/null 2>&1 || true
    done
    rm -f "$log"
  else
    say 'wine64 or the mingw compiler is not here: apt install wine64 wine gcc-mingw-w64-x86-64-posix'
    [ "${SVCBLOCKS_REQUIRE:-}" != all ] || exit 1
    exit 0
  fi
fi

# The prefix holds the tests' files, and forcing them to a disk is most of their
# time: it lies in memory where the system has a place for that.
if [ -d /dev/shm ] && [ -w /dev/shm ]; then
  work=$(mktemp -d /dev/shm/svcblocks-windows.XXXXXX)
else
  mkdir -p "$cache"
  work=$(mktemp -d "$cache/run.XXXXXX")
fi
export WINEPREFIX=$work/prefix WINEDEBUG=-all
end() {
  # Only the server of this prefix is asked to end.
  wineserver=$(command -v wineserver || echo /usr/lib/wine/wineserver64)
  "$wineserver" -k 2>/dev/null || true
  rm -rf --one-file-system "$work"
}
trap end EXIT

# library puts bcryptprimitives.dll into the prefix: ProcessPrng is what Go
# draws its random numbers from, and SystemFunction036 is RtlGenRandom.
library() {
  cat >"$work/prng.c" <<'C'
#include <windows.h>
BOOLEAN NTAPI SystemFunction036(PVOID, ULONG);
__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE data, SIZE_T size) {
  while (size > 0) {
    ULONG n = size > 1u << 20 ? 1u << 20 : (ULONG)size;
    if (!SystemFunction036(data, n)) return FALSE;
    data += n;
    size -= n;
  }
  return TRUE;
}
C
  $compiler -shared -O2 -o "$work/bcryptprimitives.dll" "$work/prng.c" -ladvapi32
  cp "$work/bcryptprimitives.dll" "$WINEPREFIX/drive_c/windows/system32/"
}

# overlay writes a copy of the file that removes files, whose last branch asks
# in the older way, and the list that tells Go to use it.
overlay() {
  local file copy=$work/at_windows.go
  file=$(go env GOROOT)/src/internal/syscall/windows/at_windows.go
  awk '
    /^func Deleteat\(/ { in_func = 1 }
    in_func && /^\tdefault:$/ { print; getline; if ($0 !~ /return err\.\(NTStatus\)\.Errno\(\)/) exit 3; print "\t\treturn deleteatFallback(h)"; done = 1; in_func = 0; next }
    { print }
    END { if (!done) exit 3 }' "$file" >"$copy" ||
    { say "$file is not as expected: the place that removes files was not found"; exit 1; }
  printf '{"Replace": {"%s": "%s"}}\n' "$file" "$copy" >"$work/overlay.json"
}

# runner is what `go test -exec` calls.
runner() {
  cat >"$work/run" <<R
#!/bin/sh
exec timeout --kill-after=10 ${TIMEOUT_SECONDS:-480} $wine "\$@"
R
  chmod +x "$work/run"
}

say 'making a prefix'
timeout 120 $wine wineboot.exe --init >"$work/boot.log" 2>&1 || { tail -n 20 "$work/boot.log"; exit 1; }
library
overlay
runner
GOOS=windows GOARCH=amd64 CGO_ENABLED=0 SVCBLOCKS_REQUIRE='' \
  go test -count=1 -overlay "$work/overlay.json" -exec "$work/run" "$@"
