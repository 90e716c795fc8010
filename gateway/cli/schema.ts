import {
  quoteIdentifier,
  quoteTable,
  sqlLiteral,
  type TokenColumns,
} from '../auth/token-store/token-columns.ts'
import { tokenTableSql } from '../auth/token-store/token-table-sql.ts'
import { sessionTimeoutMs } from '../sessions/session-timeout.ts'
import type { Settings } from '../settings/values.ts'
import type { Arguments } from './arguments.ts'
import type { Environment } from './environment.ts'
import { loadSettings } from './resources.ts'

const ROLE = 'poweron_gateway'
const CHANNEL = 'token_revoked'

/** PostgreSQL cuts off longer names, so that two names could become the same. */
const MAX_NAME_BYTES = 63

/** `schema`: the SQL of everything that the gateway can use in the database; a second run changes nothing. */
export async function printSchema(_args: Arguments, environment: Environment): Promise<number> {
  // Production requires a database and a key, which printing does not need.
  const { NODE_ENV: _, ...env } = environment.env
  environment.stdout.write(schemaSql(loadSettings({ ...environment, env })))
  return 0
}

export function schemaSql(settings: Settings): string {
  const { tokenTable, tokenColumns: columns, tokenStatuses: statuses } = settings
  const table = quoteTable(tokenTable)
  const column = (name: keyof TokenColumns) => quoteIdentifier(columns[name])
  const prefix = tokenTable.schema === null ? '' : `${quoteIdentifier(tokenTable.schema)}.`
  const name = (suffix: string) => quoteIdentifier(`${cutName(tokenTable.name, suffix)}_${suffix}`)
  const privileges = settings.sessionEndpoints ? 'SELECT, INSERT, UPDATE' : 'SELECT'
  // PostgreSQL converts the literal to the type of the column.
  const isActive = (row: string) => `${row}.${column('status')} = ${sqlLiteral(statuses.admitting)}`
  const channel = settings.revocationChannel ?? CHANNEL
  return `-- The token table, its indexes, the notice of revocations and the role that the gateway needs.
-- Safe to run again, and with an existing table: nothing that exists is changed. PostgreSQL 14 or later.

BEGIN;

${tokenTableSql(tokenTable, columns, statuses)}
-- Revoking a session or a user, and listing tokens, without reading the whole table.
CREATE INDEX IF NOT EXISTS ${name('session_idx')} ON ${table} (${column('sessionId')});
CREATE INDEX IF NOT EXISTS ${name('user_idx')} ON ${table} (${column('userId')});

-- Notifies the gateways of each revocation, so that open streams end at once: REVOCATION_CHANNEL=${channel.replaceAll(/[\r\n]/g, ' ')}
CREATE OR REPLACE FUNCTION ${prefix}${name('notify_revoked')}() RETURNS trigger LANGUAGE plpgsql AS $notify$
BEGIN
  PERFORM pg_catalog.pg_notify(${sqlLiteral(channel)}, OLD.${column('id')}::text);
  RETURN NULL;
END $notify$;

CREATE OR REPLACE TRIGGER ${name('revoked')} AFTER UPDATE OF ${column('status')} ON ${table}
  FOR EACH ROW WHEN (${isActive('OLD')} AND (${isActive('NEW')}) IS NOT TRUE)
  EXECUTE FUNCTION ${prefix}${name('notify_revoked')}();

CREATE OR REPLACE TRIGGER ${name('deleted')} AFTER DELETE ON ${table}
  FOR EACH ROW WHEN (${isActive('OLD')})
  EXECUTE FUNCTION ${prefix}${name('notify_revoked')}();

-- Least privilege: this one table and nothing else. Give the role a password: \\password ${ROLE} (in psql).
-- Without the right to create roles this prints a warning and the rest is done; run it again once the role exists.
DO $role$ BEGIN
  IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = '${ROLE}') THEN
    BEGIN
      CREATE ROLE ${ROLE} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOINHERIT;
    EXCEPTION WHEN insufficient_privilege THEN
      RAISE WARNING 'the role ${ROLE} was not created: it needs CREATEROLE';
      RETURN;
    END;
  END IF;
  EXECUTE pg_catalog.format('GRANT USAGE ON SCHEMA %s TO ${ROLE}', (
    SELECT relnamespace::regnamespace FROM pg_catalog.pg_class WHERE oid = ${sqlLiteral(table)}::regclass));
  REVOKE ALL ON ${table} FROM ${ROLE};
  GRANT ${privileges} ON ${table} TO ${ROLE};
  -- The gateway cancels a statement after its own time limit; this is for when it cannot.
  BEGIN
    ALTER ROLE ${ROLE} SET statement_timeout = '${statementTimeoutMs(settings)}ms';
  EXCEPTION WHEN insufficient_privilege THEN
    RAISE WARNING 'statement_timeout of the role ${ROLE} was not set: it needs ADMIN OPTION on the role';
  END;
END $role$;

COMMIT;
`
}

/** A quarter above the longest time that the gateway waits for one statement. */
function statementTimeoutMs({ lookupTimeoutMs, sessionEndpoints }: Settings): number {
  return Math.ceil(1.25 * (sessionEndpoints ? sessionTimeoutMs(lookupTimeoutMs) : lookupTimeoutMs))
}

/** The beginning of a table's name that leaves room for a suffix. */
function cutName(name: string, suffix: string): string {
  const room = MAX_NAME_BYTES - suffix.length - 1
  let kept = name
  while (Buffer.byteLength(kept) > room) kept = kept.slice(0, -1)
  return kept
}
