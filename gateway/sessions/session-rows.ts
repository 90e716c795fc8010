import type { Ask } from '../auth/database.ts'
import type { ColumnKinds } from '../auth/token-catalogue.ts'
import { quoted, quotedTable, type TableName, type TokenColumns } from '../auth/token-columns.ts'
import { UUID } from '../auth/token-table.ts'

/** A token's row. */
export interface SessionToken {
  readonly id: string
  readonly userId: string
  readonly sessionId: string
  readonly mandateId: string | null
  /** Seconds since the epoch; with their fraction as far as the column holds it. */
  readonly exp: number
}

export interface SessionRow extends SessionToken {
  readonly status: string
  readonly expired: boolean
  /** The database's clock when it was read, seconds since the epoch, as fine as `exp` is held. */
  readonly now: number
}

/** The statements of one transaction on a session. */
export interface SessionRows {
  /**
   * Waits until no other transaction of a gateway's changes the session. What they did is seen by the statements
   * that follow. @throws DatabaseError, also where the server is in recovery
   */
  lockSession(sessionId: string): Promise<void>
  /** The same, for the session of a token; does nothing where the token has no row. */
  lockSessionOf(tokenId: string): Promise<void>
  /** The row, locked against changes by others than gateways, or null. */
  read(tokenId: string): Promise<SessionRow | null>
  revokeSession(session: { readonly userId: string; readonly sessionId: string }): Promise<void>
  insert(tokens: readonly SessionToken[]): Promise<void>
}

export interface SessionRowsParts {
  readonly table: TableName
  readonly columns: TokenColumns
  /** What a server is told to wait at most: for a lock, and for a gateway that has stopped in the middle. */
  readonly timeoutMs: number
}

/**
 * Row locks alone would not do: an update that waits for a refresh of the same session does not see the rows which
 * that one has inserted, and a session would outlive its logout. `poweron-gateway` is the key's space, so that an
 * application's own advisory locks are others.
 */
export const sessionLock = (sessionId: string): string =>
  `pg_advisory_xact_lock(hashtextextended('poweron-gateway ' || ${sessionId}, 0))`

/** @returns what gives a transaction its statements */
export function createSessionRows({
  table,
  columns,
  timeoutMs,
}: SessionRowsParts): (ask: Ask, kinds: ColumnKinds) => SessionRows {
  const name = quotedTable(table)
  const column = (key: keyof TokenColumns) => quoted(columns[key])
  const ids = (['id', 'userId', 'sessionId', 'mandateId', 'status', 'expiresAt'] as const).map(column)
  const lock = (sessionId: string) =>
    `select pg_is_in_recovery(), set_config('lock_timeout', '${timeoutMs}', true), ` +
    `set_config('idle_in_transaction_session_timeout', '${timeoutMs}', true), ${sessionLock(sessionId)}`
  const revoke =
    `update ${name} set ${column('status')} = 'REVOKED' ` +
    `where ${column('userId')} = $1 and ${column('sessionId')} = $2 and ${column('status')} = 'ACTIVE'`

  function readText(kinds: ColumnKinds): string {
    const expiry = column('expiresAt')
    const epoch = kinds.expiresAt === 'number' ? `${expiry}::float8` : `extract(epoch from ${expiry})::float8`
    return (
      `select ${column('userId')}::text, ${column('sessionId')}::text, ${column('mandateId')}::text, ` +
      `${column('status')}::text, ${epoch}, extract(epoch from clock_timestamp())::float8 ` +
      `from ${name} where ${column('id')} = $1::${kinds.id} for update`
    )
  }

  return (ask, kinds) => {
    const isId = (id: string) => kinds.id !== 'uuid' || UUID.test(id)
    return {
      async lockSession(sessionId) {
        await ask({ text: lock('$1::text'), parameters: [sessionId], primaryOnly: true })
      },
      async lockSessionOf(tokenId) {
        if (!isId(tokenId)) return
        const session = `${column('sessionId')}::text`
        const from = `from (select) as always left join ${name} on ${column('id')} = $1::${kinds.id}`
        await ask({ text: `${lock(session)} ${from}`, parameters: [tokenId], primaryOnly: true })
      },
      async read(id) {
        if (!isId(id)) return null
        const [cells] = await ask({ text: readText(kinds), parameters: [id] })
        if (cells === undefined) return null
        const [userId, sessionId, mandateId, status, exp, clock] = cells
        return {
          id,
          userId: String(userId ?? ''),
          sessionId: String(sessionId ?? ''),
          mandateId: mandateId === null ? null : String(mandateId),
          status: String(status),
          exp: Number(exp),
          expired: exp !== null && !(Number(exp) > Number(clock)),
          now:
            kinds.expiresAt === 'number'
              ? Math.floor(Number(clock))
              : Math.floor(Number(clock) * 1000) / 1000,
        }
      },
      async revokeSession({ userId, sessionId }) {
        await ask({ text: revoke, parameters: [userId, sessionId] })
      },
      async insert(tokens) {
        const rows = tokens.map((_, i) => `(${placeholders(i * 5, kinds)})`)
        await ask({
          text: `insert into ${name} (${ids.join(', ')}) values ${rows.join(', ')}`,
          parameters: tokens.flatMap(({ id, userId, sessionId, mandateId, exp }) => [
            id,
            userId,
            sessionId,
            mandateId,
            String(exp),
          ]),
        })
      },
    }
  }
}

function placeholders(after: number, { expiresAt }: ColumnKinds): string {
  const at = (n: number) => `$${after + n}`
  const expiry = {
    timestamptz: `to_timestamp(${at(5)}::float8)`,
    timestamp: `to_timestamp(${at(5)}::float8) at time zone 'UTC'`,
    number: `${at(5)}::float8`,
  }[expiresAt]
  return `${at(1)}, ${at(2)}, ${at(3)}, ${at(4)}, 'ACTIVE', ${expiry}`
}
