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
      /** False where the pair was there already, and its access token has been revoked or has expired since. */
      readonly accessIsGood: boolean
    }
  /** Nobody waits for it any more; nothing was changed. */
  | { readonly kind: 'left' }
  | Refused

export type Ending = { readonly kind: 'ended' } | Refused

/** Changes sessions in the token table, each change in one transaction. */
export interface SessionStore {
  /**
   * Replaces all tokens of a refresh token's session by a new pair. A token that was used within the last ten
   * seconds gives the same pair again (two tabs of one browser); one used longer ago was stolen, and its session
   * ends.
   *
   * @param isWanted asked once the session is this transaction's alone
   * @throws GatewayError `token_store_unavailable`
   */
  rotate(token: VerifiedToken, isWanted: () => boolean): Promise<Rotation>
  /** Revokes every token of a session. @throws GatewayError `token_store_unavailable` */
  end(session: { readonly userId: string; readonly sessionId: string }): Promise<void>
  /**
   * Revokes every token of a refresh token's session. One that was used up within the last ten seconds will do;
   * one used longer ago was stolen: its session ends all the same, and the token is refused.
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
  /** The first one names the successors of a token; while secrets are replaced, instances differ in which that is. */
  readonly secrets: () => readonly [KeyObject, ...KeyObject[]]
  readonly accessTtlS: number
  readonly refreshTtlS: number
  readonly timeoutMs: number
  /** Milliseconds, monotonic. */
  readonly now: () => number
}

/** A racing tab's refresh with the same token gets the same answer for so long. */
const REUSE_S = 10

/** Transactions that stood in each other's way (SQLSTATE class 40); a second try sees what the other one did. */
const COLLISION = /^40/

const REVOKED: Refused = { kind: 'refused', code: 'token_revoked' }

export function createSessionStore(parts: SessionStoreParts): SessionStore {
  const { database } = parts

  /** One transaction on one session at a time, whatever the instance. @returns the row, once it is ours alone */
  async function take(rows: SessionRows, token: VerifiedToken): Promise<SessionRow | Refused> {
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
    const old = await take(rows, token)
    if ('code' in old) return old
    if (!isWanted()) return { kind: 'left' }
    if (!old.active) return successors(rows, old)
    if (old.expired) return { kind: 'refused', code: 'token_expired' }
    const { id, userId, sessionId, mandateId, now } = old
    const whose = { userId, sessionId, mandateId }
    const [secret] = parts.secrets()
    const access = {
      ...whose,
      id: successorId(secret, id, 'access'),
      exp: Math.floor(now) + parts.accessTtlS,
    }
    const refresh = { ...whose, id: successorId(secret, id, 'refresh'), exp: now + parts.refreshTtlS }
    await rows.revokeSession(old)
    await rows.insert([access, refresh], id)
    return { kind: 'rotated', access, refresh, accessIsGood: true }
  }

  /**
   * What a used token was exchanged for; its successor's expiry tells when. A successor that has been used as well
   * leads on to the pair in force. Tokens that were revoked otherwise have no successors.
   */
  async function successors(rows: SessionRows, used: SessionRow): Promise<Rotation> {
    for (const secret of parts.secrets()) {
      const refresh = await rows.read(successorId(secret, used.id, 'refresh'))
      if (refresh !== null) return successorsBy(secret, rows, used, refresh)
    }
    return REVOKED
  }

  async function successorsBy(
    secret: KeyObject,
    rows: SessionRows,
    used: SessionRow,
    refresh: SessionRow,
  ): Promise<Rotation> {
    // The far side of now: written by a server whose clock was ahead, or under another REFRESH_TOKEN_TTL_S.
    if (Math.abs(used.now - (refresh.exp - parts.refreshTtlS)) > REUSE_S) {
      await rows.revokeSession(used)
      return REVOKED
    }
    if (!refresh.active) return successors(rows, refresh)
    // Rows of expired access tokens may be cleaned away long before those of the refresh tokens beside them.
    const access = await rows.read(successorId(secret, used.id, 'access'))
    if (access === null) return REVOKED
    return { kind: 'rotated', access, refresh, accessIsGood: refusalByRow(access) === null }
  }

  async function endIn(rows: SessionRows, token: VerifiedToken): Promise<Ending> {
    const row = await take(rows, token)
    if ('code' in row) return row
    if (refusalByRow(row) === 'token_expired') return { kind: 'refused', code: 'token_expired' }
    if (!row.active) {
      const found = await successors(rows, row)
      if (found.kind === 'refused') return found
    }
    await rows.revokeSession(row)
    return { kind: 'ended' }
  }

  /**
   * Which tokens follow on which needs no column and no memory: the id is derived from the old one's, so every
   * instance finds the same pair. Without the secret nobody can tell it in advance.
   */
  function successorId(secret: KeyObject, id: string, use: 'access' | 'refresh'): string {
    const digest = createHmac('sha256', secret).update(`poweron-gateway successor ${use} ${id}`).digest('hex')
    // A UUID of version 8 (RFC 9562, section 5.8), since ids may be of that type.
    return `${digest.slice(0, 8)}-${digest.slice(8, 12)}-8${digest.slice(13, 16)}-a${digest.slice(17, 20)}-${digest.slice(20, 32)}`
  }

  /**
   * A connection that had gone, a server that is not the primary, or a collision, is tried once more; of several
   * servers each gets its turn. That is safe even where the answer to COMMIT was lost: a rotation that happened is found
   * by its successors.
   */
  async function transact<T>(end: number, task: (rows: SessionRows) => Promise<T>): Promise<T> {
    const once = () =>
      parts.withMapped(Math.max(1, end - parts.now()), (mapped, leftMs) => {
        const within = (query: Query) => task(parts.rowsOf(query, mapped))
        return database.transaction(within, Math.max(1, leftMs))
      })
    for (let left = database.hosts; ; left--) {
      try {
        return await once()
      } catch (cause) {
        const mayHelp = cause instanceof DatabaseError && (cause.stale || COLLISION.test(cause.code))
        if (left > 0 && mayHelp && parts.now() < end) continue
        throw new GatewayError('token_store_unavailable', 'the session could not be changed', { cause })
      }
    }
  }

  const underWay = new Map<string, Promise<unknown>>()

  /**
   * Changes of one session wait here for each other, and not with a connection in their hands for the lock: there are
   * few, and other sessions need them too. The wait counts: a database that hangs fails all of them in the time of one.
   */
  async function inTurn<T>(session: string, task: (rows: SessionRows) => Promise<T>): Promise<T> {
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
    rotate: (token, isWanted) => inTurn(sessionOf(token), (rows) => rotateIn(rows, token, isWanted)),
    end: (session) =>
      inTurn(session.sessionId, async (rows) => {
        await rows.lockSession(session.sessionId)
        await rows.revokeSession(session)
      }),
    endByRefresh: (token) => inTurn(sessionOf(token), (rows) => endIn(rows, token)),
    close: () => database.close(),
  }
}

/** What is known of it before its row is read. */
function sessionOf({ sessionId, jti }: VerifiedToken): string {
  return sessionId ?? jti
}
