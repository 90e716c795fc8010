import { parseArgs } from 'node:util'
import { quoted, quotedTable, type TokenColumns } from '../auth/token-columns.ts'
import { tokenTableSql } from '../auth/token-table-sql.ts'
import { readSettings, type Settings } from '../settings.ts'
import type { Environment } from './environment.ts'
import { UsageError } from './usage.ts'

const ROLE = 'poweron_gateway'
const CHANNEL = 'token_revoked'

/** `schema`: the SQL of everything that the gateway can use in the database; run twice it changes nothing. */
export async function schema(args: readonly string[], environment: Environment): Promise<number> {
  parseArgs({ args: [...args], options: {} })
  const { NODE_ENV: _, ...env } = environment.env
  const read = readSettings(env)
  if (!read.ok) throw new UsageError(read.problems.join('\n'))
  environment.stdout.write(schemaSql(read.settings))
  return 0
}

export function schemaSql(settings: Settings): string {
  const { tokenTable, tokenColumns: columns } = settings
  const table = quotedTable(tokenTable)
  const column = (name: keyof TokenColumns) => quoted(columns[name])
  const prefix = tokenTable.schema === null ? '' : `${quoted(tokenTable.schema)}.`
  const name = (suffix: string) => quoted(`${tokenTable.name}_${suffix}`)
  const privileges = settings.sessionEndpoints ? 'SELECT, INSERT, UPDATE' : 'SELECT'
  const usage =
    tokenTable.schema === null ? '' : `GRANT USAGE ON SCHEMA ${quoted(tokenTable.schema)} TO ${ROLE};\n`
  return `-- The token table, its indexes, the notice of revocations and the role that the gateway needs.
-- Safe to run again: what exists is left as it is.

BEGIN;

${tokenTableSql(tokenTable, columns)}
-- Revoking a session or a user, and listing tokens, without reading the whole table.
CREATE INDEX IF NOT EXISTS ${name('session_idx')} ON ${table} (${column('sessionId')});
CREATE INDEX IF NOT EXISTS ${name('user_idx')} ON ${table} (${column('userId')});

-- Tells the gateways of each revocation, so that open streams end at once (REVOCATION_CHANNEL=${settings.revocationChannel ?? CHANNEL}).
CREATE OR REPLACE FUNCTION ${prefix}${name('notify_revoked')}() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_notify(${literal(settings.revocationChannel ?? CHANNEL)}, OLD.${column('id')}::text);
  RETURN NULL;
END $$;

CREATE OR REPLACE TRIGGER ${name('revoked')} AFTER UPDATE OF ${column('status')} ON ${table}
  FOR EACH ROW WHEN (OLD.${column('status')}::text = 'ACTIVE' AND NEW.${column('status')}::text <> 'ACTIVE')
  EXECUTE FUNCTION ${prefix}${name('notify_revoked')}();

CREATE OR REPLACE TRIGGER ${name('deleted')} AFTER DELETE ON ${table}
  FOR EACH ROW WHEN (OLD.${column('status')}::text = 'ACTIVE')
  EXECUTE FUNCTION ${prefix}${name('notify_revoked')}();

-- Least privilege: this one table and nothing else. Give the role a password with \\password ${ROLE}.
DO $$ BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '${ROLE}') THEN CREATE ROLE ${ROLE} LOGIN; END IF;
END $$;
${usage}GRANT ${privileges} ON ${table} TO ${ROLE};

COMMIT;
`
}

function literal(text: string): string {
  return `'${text.replaceAll("'", "''")}'`
}
