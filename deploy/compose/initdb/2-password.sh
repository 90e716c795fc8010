#!/bin/sh
# The gateway's role, which 1-token-table.sql makes, gets its password. The database runs this once, when it is new.
set -eu
psql -v ON_ERROR_STOP=1 -v password="$(cat "$GATEWAY_PASSWORD_FILE")" -U "$POSTGRES_USER" -d "$POSTGRES_DB" <<'SQL'
ALTER ROLE poweron_gateway PASSWORD :'password';
SQL
