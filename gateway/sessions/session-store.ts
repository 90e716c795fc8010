import { createHmac, type KeyObject } from 'node:crypto'
import postgres from 'postgres'
import type { ColumnKinds } from '../auth/token-catalogue.ts'
import { quoted, quotedTable, type TableName, type TokenColumns } from '../auth/token-columns.ts'
import type { VerifiedToken } from '../auth/token-verifier.ts'
import { GatewayError } from '../errors.ts'

/** A token's row with its expiry in whole seconds since the epoch. */
export interface SessionToken {
  readonly id: string
  readonly userId: string
  readonly sessionId: string
  readonly mandateId: string | null
  readonly exp: number
}

export type Rotation =
  | {
      readonly kind: 'rotated'
      readonly access: SessionToken
      readonly refresh: SessionToken
      /** False where the pair was there already, and its access token has been revoked or has expired since. */
      readonly accessIsGood: boolean
    }
  | {
      readonly kind: 'refused'
      readonly code: 'token_unknown' | 'token_expired' | 'token_revoked' | 'token_mismatch'
    }

export type FoundSession =
  | { readonly kind: 'found'; readonly session: { readonly userId: string; readonly sessionId: string } }
  | {
      readonly kind: 'refused'
      readonly code: 'token_unknown' | 'token_expired' | 'token_revoked' | 'token_mismatch'
    }

/** Changes sessions in the token table, each change in one transaction. */
export interface SessionStore {
  /**
   * Replaces all tokens of a refresh token's session by a new pair. A token that was used within the last ten
   * seconds gives the same pair again (two tabs of one browser); one used longer ago was stolen, and its session
   * ends.
   *
   * @throws GatewayError `token_store_unavailable`
   */
  rotate(token: VerifiedToken): Promise<Rotation>
  /** The session of a refresh token that is good. @throws GatewayError `token_store_unavailable` */
  find(token: VerifiedToken): Promise<FoundSession>
  /** Revokes every token of a session. @throws GatewayError `token_store_unavailable` */
  end(session: { readonly userId: string; readonly sessionId: string }): Promise<void>
  close(): Promise<void>
}

export interface SessionStoreParts {
  readonly databaseUrl: string
  readonly prepare: boolean
  readonly table: TableName
  readonly columns: TokenColumns
  readonly kinds: () => Promise<ColumnKinds>
  /** Names the successors of a token; the same on every instance. */
  readonly secret: () => KeyObject
  readonly accessTtlS: number
  readonly refreshTtlS: number
  readonly timeoutMs: number
}

const CONNECTIONS = 2

/** A racing tab's refresh with the same token gets the same answer for so long. */
const REUSE_S = 10

type Transaction = postgres.TransactionSql

interface Row extends SessionToken {
  readonly status: string
  readonly expired: boolean
  /** The database's clock, seconds since the epoch. */
  readonly now: number
}

export function createSessionStore(parts: SessionStoreParts): SessionStore {
  const sql = postgres(parts.databaseUrl, {
    max: CONNECTIONS,
    prepare: parts.prepare,
    fetch_types: false,
    idle_timeout: 60,
    connect_timeout: 5,
    backoff: () => 0.1,
    target_session_attrs: 'primary',
    onnotice: () => {},
    connection: { application_name: 'poweron-gateway-sessions' },
  })
  const table = quotedTable(parts.table)
  const column = (name: keyof TokenColumns) => quoted(parts.columns[name])

  async function rotateIn(tx: Transaction, token: VerifiedToken, kinds: ColumnKinds): Promise<Rotation> {
    const old = await lock(tx, token.jti, kinds)
    if (old === null) return { kind: 'refused', code: 'token_unknown' }
    if (disagrees(token, old)) return { kind: 'refused', code: 'token_mismatch' }
    if (old.status !== 'ACTIVE') return reuse(tx, old, kinds)
    if (old.expired) return { kind: 'refused', code: 'token_expired' }
    const access = successor(old, 'access', old.now + parts.accessTtlS)
    const refresh = successor(old, 'refresh', old.now + parts.refreshTtlS)
    await revokeSession(tx, old)
    await insert(tx, access, kinds)
    await insert(tx, refresh, kinds)
    return { kind: 'rotated', access, refresh, accessIsGood: true }
  }

  /** A used token: its successors tell when. Tokens that were revoked otherwise have none. */
  async function reuse(tx: Transaction, old: Row, kinds: ColumnKinds): Promise<Rotation> {
    const refused = { kind: 'refused', code: 'token_revoked' } as const
    const access = await lock(tx, successorId(old.id, 'access'), kinds)
    const refresh = await lock(tx, successorId(old.id, 'refresh'), kinds)
    if (access === null || refresh === null) return refused
    const usedAt = refresh.exp - parts.refreshTtlS
    if (old.now - usedAt > REUSE_S) {
      await revokeSession(tx, old)
      return refused
    }
    if (refresh.status !== 'ACTIVE') return refused
    return { kind: 'rotated', access, refresh, accessIsGood: access.status === 'ACTIVE' && !access.expired }
  }

  async function lock(tx: Transaction, id: string, kinds: ColumnKinds): Promise<Row | null> {
    const expiry = column('expiresAt')
    const epoch = kinds.expiresAt === 'number' ? `${expiry}::float8` : `extract(epoch from ${expiry})::float8`
    const rows = await tx.unsafe(
      `select ${column('id')}::text as id, ${column('userId')}::text as "userId", ${column('sessionId')}::text as "sessionId",
              ${column('mandateId')}::text as "mandateId", ${column('status')}::text as status, ${epoch} as exp,
              floor(extract(epoch from clock_timestamp()))::float8 as now
       from ${table} where ${column('id')} = $1::${kinds.id} for update`,
      [id],
    )
    const [row] = rows as unknown as (Omit<Row, 'expired'> & { exp: number | null })[]
    if (row === undefined) return null
    return { ...row, expired: row.exp !== null && row.exp <= row.now }
  }

  async function revokeSession(
    tx: postgres.Sql | Transaction,
    session: { userId: string; sessionId: string },
  ) {
    await tx.unsafe(
      `update ${table} set ${column('status')} = 'REVOKED'
       where ${column('userId')}::text = $1 and ${column('sessionId')}::text = $2 and ${column('status')}::text = 'ACTIVE'`,
      [session.userId, session.sessionId],
    )
  }

  async function insert(tx: Transaction, token: SessionToken, kinds: ColumnKinds): Promise<void> {
    const names = (['id', 'userId', 'sessionId', 'mandateId', 'status', 'expiresAt'] as const)
      .map(column)
      .join(', ')
    const expiry = {
      timestamptz: 'to_timestamp($5::float8)',
      timestamp: `to_timestamp($5::float8) at time zone 'UTC'`,
      number: '$5::float8',
    }[kinds.expiresAt]
    await tx.unsafe(`insert into ${table} (${names}) values ($1, $2, $3, $4, 'ACTIVE', ${expiry})`, [
      token.id,
      token.userId,
      token.sessionId,
      token.mandateId,
      token.exp,
    ])
  }

  function successor(old: Row, use: 'access' | 'refresh', exp: number): SessionToken {
    const { userId, sessionId, mandateId } = old
    return { id: successorId(old.id, use), userId, sessionId, mandateId, exp }
  }

  /**
   * Which tokens follow on which needs no column and no memory: the id is derived from the old one's, so every
   * instance finds the same pair. Without the secret nobody can tell it in advance.
   */
  function successorId(id: string, use: 'access' | 'refresh'): string {
    const digest = createHmac('sha256', parts.secret())
      .update(`poweron-gateway successor ${use} ${id}`)
      .digest('hex')
    // A UUID of version 8 (RFC 9562, section 5.8), since ids may be of that type.
    return `${digest.slice(0, 8)}-${digest.slice(8, 12)}-8${digest.slice(13, 16)}-a${digest.slice(17, 20)}-${digest.slice(20, 32)}`
  }

  async function bounded<T>(work: Promise<T>): Promise<T> {
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error(`no answer within ${parts.timeoutMs} ms`)), parts.timeoutMs)
    })
    work.catch(() => {})
    try {
      return await Promise.race([work, late])
    } catch (cause) {
      throw new GatewayError('token_store_unavailable', 'the session could not be changed', { cause })
    } finally {
      clearTimeout(timer)
    }
  }

  async function findIn(tx: Transaction, token: VerifiedToken, kinds: ColumnKinds): Promise<FoundSession> {
    const row = await lock(tx, token.jti, kinds)
    if (row === null) return { kind: 'refused', code: 'token_unknown' }
    if (disagrees(token, row)) return { kind: 'refused', code: 'token_mismatch' }
    if (row.status !== 'ACTIVE') return { kind: 'refused', code: 'token_revoked' }
    return row.expired ? { kind: 'refused', code: 'token_expired' } : { kind: 'found', session: row }
  }

  return {
    find(token) {
      return bounded(
        parts.kinds().then((kinds) => sql.begin((tx) => findIn(tx, token, kinds)) as Promise<FoundSession>),
      )
    },
    rotate(token) {
      return bounded(
        parts.kinds().then((kinds) => sql.begin((tx) => rotateIn(tx, token, kinds)) as Promise<Rotation>),
      )
    },
    end: (session) => bounded(revokeSession(sql, session)),
    async close() {
      await sql.end({ timeout: 1 }).catch(() => {})
    },
  }
}

function disagrees(token: VerifiedToken, row: SessionToken): boolean {
  return (
    (token.userId !== null && token.userId !== row.userId) ||
    (token.mandateId !== null && token.mandateId !== row.mandateId) ||
    (token.sessionId !== null && token.sessionId !== row.sessionId)
  )
}
