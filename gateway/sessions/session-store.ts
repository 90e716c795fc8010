import { createHmac, type KeyObject } from 'node:crypto'
import type { VerifiedToken } from '../auth/jwt/claims.ts'
import { claimThatDiffers, refusalByRow } from '../auth/token-store/row-decision.ts'
import type { TokenTable } from '../auth/token-store/token-table.ts'
import { GatewayError } from '../core/errors.ts'
import { type Database, DatabaseError, type Query } from '../database/database.ts'
import type { createSessionRows, SessionRow, SessionRows, SessionToken } from './session-rows.ts'

type RefusalCode = 'token_unknown' | 'token_expired' | 'token_revoked' | 'token_mismatch'

interface Refused {
  readonly kind: 'refused'
  readonly code: RefusalCode
}

export type Rotation =
  | {
      readonly kind: 'rotated'
      readonly access: SessionToken
      readonly refresh: SessionToken
      /** False where the pair existed already, and its access token was revoked or has expired since. */
      readonly isAccessGood: boolean
    }
  /** The client has disconnected, and nothing was changed. */
  | { readonly kind: 'abandoned' }
  | Refused

export type Ending = { readonly kind: 'ended' } | Refused

/** Changes sessions in the token table, each change in one transaction. */
export interface SessionStore {
  /**
   * Replaces all tokens of a refresh token's session by a new pair. A token that was used within the last ten seconds gives
   * the same pair again (two tabs of one browser). One that was used longer ago counts as stolen, and its session ends.
   *
   * @param isWanted called once the session is locked; where it returns false nothing is changed
   * @throws GatewayError `token_store_unavailable`
   */
  rotate(token: VerifiedToken, isWanted: () => boolean): Promise<Rotation>
  /** Revokes every token of a session. @throws GatewayError `token_store_unavailable` */
  end(session: { readonly userId: string; readonly sessionId: string }): Promise<void>
  /**
   * Revokes every token of a refresh token's session. A token that was used within the last ten seconds is accepted. One
   * that was used longer ago counts as stolen: its session ends too, and the token is refused.
   *
   * @throws GatewayError `token_store_unavailable`
   */
  endByRefresh(token: VerifiedToken): Promise<Ending>
  close(): Promise<void>
}

export interface SessionStoreParts {
  readonly database: Database
  readonly rowsOf: ReturnType<typeof createSessionRows>
  readonly withMapped: TokenTable['withMapped']
  /** The first secret derives the ids of successors; while secrets are rotated, instances differ in which one is first. */
  readonly secrets: () => readonly [KeyObject, ...KeyObject[]]
  readonly accessTtlS: number
  readonly refreshTtlS: number
  readonly timeoutMs: number
  /** Milliseconds, monotonic. */
  readonly now: () => number
}

/** For so many seconds another refresh with the same token, by a racing tab, gets the same pair. */
const REUSE_S = 10

/** SQLSTATE class 40: transactions that conflicted. A second try sees what the other one has committed. */
const COLLISION = /^40/

const REVOKED: Refused = { kind: 'refused', code: 'token_revoked' }

export function createSessionStore(parts: SessionStoreParts): SessionStore {
  const { database } = parts

  /** Locks the token's session, so that one transaction of all instances works on it, and reads the row. */
  async function lockAndRead(rows: SessionRows, token: VerifiedToken): Promise<SessionRow | Refused> {
    await rows.lockSessionOf(token.jti)
    const row = await rows.read(token.jti)
    if (row === null) return { kind: 'refused', code: 'token_unknown' }
    return claimThatDiffers(token, row) === null ? row : { kind: 'refused', code: 'token_mismatch' }
  }

  async function rotateIn(
    rows: SessionRows,
    token: VerifiedToken,
    isWanted: () => boolean,
  ): Promise<Rotation> {
    const old = await lockAndRead(rows, token)
    if ('code' in old) return old
    if (!isWanted()) return { kind: 'abandoned' }
    if (!old.active) return findSuccessors(rows, old)
    if (old.expired) return { kind: 'refused', code: 'token_expired' }
    const { id, userId, sessionId, mandateId, now } = old
    const owner = { userId, sessionId, mandateId }
    const [secret] = parts.secrets()
    const access = {
      ...owner,
      id: successorId(secret, id, 'access'),
      exp: Math.floor(now) + parts.accessTtlS,
    }
    const refresh = { ...owner, id: successorId(secret, id, 'refresh'), exp: now + parts.refreshTtlS }
    await rows.revokeSession(old)
    await rows.insert([access, refresh], id)
    return { kind: 'rotated', access, refresh, isAccessGood: true }
  }

  /**
   * The tokens that a used token was exchanged for. The successor's expiry shows when. Where the successor has been used as
   * well, its own successors are returned. A token that was revoked in another way has no successors.
   */
  async function findSuccessors(rows: SessionRows, used: SessionRow): Promise<Rotation> {
    for (const secret of parts.secrets()) {
      const refresh = await rows.read(successorId(secret, used.id, 'refresh'))
      if (refresh !== null) return readSuccessors(secret, rows, used, refresh)
    }
    return REVOKED
  }

  async function readSuccessors(
    secret: KeyObject,
    rows: SessionRows,
    used: SessionRow,
    refresh: SessionRow,
  ): Promise<Rotation> {
    // The time of use can lie in the future, by another server's clock or another REFRESH_TOKEN_TTL_S.
    if (Math.abs(used.now - (refresh.exp - parts.refreshTtlS)) > REUSE_S) {
      await rows.revokeSession(used)
      return REVOKED
    }
    if (!refresh.active) return findSuccessors(rows, refresh)
    // The rows of expired access tokens may have been deleted long before those of the refresh tokens.
    const access = await rows.read(successorId(secret, used.id, 'access'))
    if (access === null) return REVOKED
    return { kind: 'rotated', access, refresh, isAccessGood: refusalByRow(access) === null }
  }

  async function endIn(rows: SessionRows, token: VerifiedToken): Promise<Ending> {
    const row = await lockAndRead(rows, token)
    if ('code' in row) return row
    if (refusalByRow(row) === 'token_expired') return { kind: 'refused', code: 'token_expired' }
    if (!row.active) {
      const found = await findSuccessors(rows, row)
      if (found.kind === 'refused') return found
    }
    await rows.revokeSession(row)
    return { kind: 'ended' }
  }

  /**
   * Derives a successor's id from the old id, so that every instance finds the same pair, and no column has to link them.
   * Without the secret the id cannot be predicted.
   */
  function successorId(secret: KeyObject, id: string, use: 'access' | 'refresh'): string {
    const digest = createHmac('sha256', secret).update(`poweron-gateway successor ${use} ${id}`).digest('hex')
    // A UUID of version 8 (RFC 9562, section 5.8), since the id column may be of type uuid.
    return `${digest.slice(0, 8)}-${digest.slice(8, 12)}-8${digest.slice(13, 16)}-a${digest.slice(17, 20)}-${digest.slice(20, 32)}`
  }

  /**
   * Repeats the transaction after a stale connection, a server that is not the primary, or a conflict, once for each server.
   * That is safe even where the answer to COMMIT was lost: a rotation that was committed is found by its successors.
   */
  async function transact<T>(end: number, task: (rows: SessionRows) => Promise<T>): Promise<T> {
    const once = () =>
      parts.withMapped(Math.max(1, end - parts.now()), (mapped, leftMs) => {
        const run = (query: Query) => task(parts.rowsOf(query, mapped))
        return database.transaction(run, Math.max(1, leftMs))
      })
    for (let left = database.hosts; ; left--) {
      try {
        return await once()
      } catch (cause) {
        const isRetryable = cause instanceof DatabaseError && (cause.stale || COLLISION.test(cause.code))
        if (left > 0 && isRetryable && parts.now() < end) continue
        throw new GatewayError('token_store_unavailable', 'the session could not be changed', { cause })
      }
    }
  }

  const underWay = new Map<string, Promise<unknown>>()

  /**
   * Changes of one session wait here for each other, and not for the lock in the database, where each would hold one of the
   * few connections. The wait is part of the time limit: a database that hangs fails all of them in the time of one.
   */
  async function runInTurn<T>(session: string, task: (rows: SessionRows) => Promise<T>): Promise<T> {
    const end = parts.now() + parts.timeoutMs
    const change = () => transact(end, task)
    const before = underWay.get(session)
    const mine = before === undefined ? change() : before.then(change, change)
    underWay.set(session, mine)
    try {
      return await mine
    } finally {
      if (underWay.get(session) === mine) underWay.delete(session)
    }
  }

  return {
    rotate: (token, isWanted) => runInTurn(sessionKey(token), (rows) => rotateIn(rows, token, isWanted)),
    end: (session) =>
      runInTurn(session.sessionId, async (rows) => {
        await rows.lockSession(session.sessionId)
        await rows.revokeSession(session)
      }),
    endByRefresh: (token) => runInTurn(sessionKey(token), (rows) => endIn(rows, token)),
    close: () => database.close(),
  }
}

/** A key for the token's session, as far as it is known before the row is read. */
function sessionKey({ sessionId, jti }: VerifiedToken): string {
  return sessionId ?? jti
}
