#!/bin/sh
# Makes the secrets of this installation, once. Those that are there stay.
set -eu
cd "$(dirname "$0")"
mkdir -p secrets
chmod 700 secrets
umask 022
make() { [ -s "secrets/$1" ] || openssl rand -hex 32 | tr -d '\n' > "secrets/$1"; }
for name in postgres-password gateway-password grafana-password jwt-secret; do make "$name"; done
[ -s secrets/database-url ] ||
  printf 'postgres://poweron_gateway:%s@database/app' "$(cat secrets/gateway-password)" > secrets/database-url
