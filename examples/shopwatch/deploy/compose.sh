#!/usr/bin/env bash
# usage: compose.sh ARGUMENTS...
# Runs Compose, whichever there is: the plugin of the docker client (v2), or
# the program docker-compose.
set -euo pipefail
if docker compose version >/dev/null 2>&1; then
  exec docker compose "$@"
elif command -v docker-compose >/dev/null; then
  exec docker-compose "$@"
fi
echo "compose: neither 'docker compose' nor docker-compose is here (Debian: apt install docker-compose)" >&2
exit 1
