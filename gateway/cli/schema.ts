import { quoted, quotedTable, type TokenColumns } from '../auth/token-columns.ts'
import { tokenTableSql } from '../auth/token-table-sql.ts'
import type { Settings } from '../settings.ts'
import type { Arguments } from './arguments.ts'
import { settingsOf } from './backing.ts'
import type { Environment } from './environment.ts'

const ROLE = 'poweron_gateway'
const CHANNEL = 'token_revoked'

/** Longer names PostgreSQL cuts off, so that two of them become one. */
const MAX_NAME_BYTES = 63

/** `schema`: the SQL of everything that the gateway can use in the database; run twice it changes nothing. */
export async function schema(_args: Arguments, environment: Environment): Promise<number> {
  // Neither a database nor a key is needed to print it.
  const { NODE_ENV: _, ...env } = environment.env
  environment.stdout.write(schemaSql(settingsOf({ ...environment, env })))
  return 0
}

export function schemaSql(settings: Settings): string {
  const { tokenTable, tokenColumns: columns } = settings
  const table = quotedTable(tokenTable)
  const column = (name: keyof TokenColumns) => quoted(columns[name])
  const prefix = tokenTable.schema === null ? '' : `${quoted(tokenTable.schema)}.`
  const name = (suffix: string) => quoted(`${cut(tokenTable.name, suffix)}_${suffix}`)
  const privileges = settings.sessionEndpoints ? 'SELECT, INSERT, UPDATE' : 'SELECT'
  const channel = settings.revocationChannel ?? CHANNEL
  return `-- The token table, its indexes, the notice of revocations and the role that the gateway needs.
-- Safe to run again, and on a table that is there already: what exists is left as it is. PostgreSQL 14 or later.

BEGIN;

${tokenTableSql(tokenTable, columns)}
-- Revoking a session or a user, and listing tokens, without reading the whole table.
CREATE INDEX IF NOT EXISTS ${name('session_idx')} ON ${table} (${column('sessionId')});
CREATE INDEX IF NOT EXISTS ${name('user_idx')} ON ${table} (${column('userId')});

-- Tells the gateways of each revocation, so that open streams end at once: REVOCATION_CHANNEL=${channel.replaceAll(/[\r\n]/g, ' ')}
CREATE OR REPLACE FUNCTION ${prefix}${name('notify_revoked')}() RETURNS trigger LANGUAGE plpgsql AS $notify$
BEGIN
  PERFORM pg_catalog.pg_notify(${literal(channel)}, OLD.${column('id')}::text);
  RETURN NULL;
END $notify$;

CREATE OR REPLACE TRIGGER ${name('revoked')} AFTER UPDATE OF ${column('status')} ON ${table}
  FOR EACH ROW WHEN (OLD.${column('status')}::text = 'ACTIVE' AND NEW.${column('status')}::text <> 'ACTIVE')
  EXECUTE FUNCTION ${prefix}${name('notify_revoked')}();

CREATE OR REPLACE TRIGGER ${name('deleted')} AFTER DELETE ON ${table}
  FOR EACH ROW WHEN (OLD.${column('status')}::text = 'ACTIVE')
  EXECUTE FUNCTION ${prefix}${name('notify_revoked')}();

-- Least privilege: this one table and nothing else. Give the role a password: \\password ${ROLE} (in psql).
-- Who may not make roles is told so, and gets the rest; run it again once there is one.
DO $role$ BEGIN
  IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = '${ROLE}') THEN
    BEGIN
      CREATE ROLE ${ROLE} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOINHERIT;
    EXCEPTION WHEN insufficient_privilege THEN
      RAISE WARNING 'the role ${ROLE} was not made: that takes CREATEROLE';
      RETURN;
    END;
  END IF;
  EXECUTE pg_catalog.format('GRANT USAGE ON SCHEMA %s TO ${ROLE}', (
    SELECT relnamespace::regnamespace FROM pg_catalog.pg_class WHERE oid = ${literal(table)}::regclass));
  REVOKE ALL ON ${table} FROM ${ROLE};
  GRANT ${privileges} ON ${table} TO ${ROLE};
END $role$;

COMMIT;
`
}

/** The beginning of a table's name that leaves room for a suffix. */
function cut(name: string, suffix: string): string {
  const room = MAX_NAME_BYTES - suffix.length - 1
  let kept = name
  while (Buffer.byteLength(kept) > room) kept = kept.slice(0, -1)
  return kept
}

function literal(text: string): string {
  const plain = `'${text.replaceAll("'", "''")}'`
  // A backslash means itself in every setting of standard_conforming_strings (PostgreSQL manual, section 4.1.2.2).
  return text.includes('\\') ? `E${plain.replaceAll('\\', '\\\\')}` : plain
}
