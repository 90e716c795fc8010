import type { Identity } from '../auth/authenticator.ts'
import type { TokenRow } from '../auth/token-table.ts'
import type { Scheduler } from '../scheduler.ts'

export type StreamKind = 'websocket' | 'sse' | 'other'
export type CloseReason = 'revoked' | 'expired' | 'fault' | 'drain'

/** An exchange that is open, as far as its session may end it. */
export interface OpenExchange {
  /** Null where the route let it through without a token. */
  readonly identity: Identity | null
  /** When the token itself ends, epoch milliseconds. */
  readonly tokenExpiresAt: number
  kind(): StreamKind
  /** Breaks both connections; called at most once. */
  close(reason: CloseReason): void
}

export interface StreamGuard {
  /** @returns ends the watch; to be called when the exchange is over */
  watch(exchange: OpenExchange): () => void
  /** Closes what is open on this token, in a moment: notices that come together are worked off together. */
  revoked(tokenId: string): void
  /** Looks everything up again now: notices may have been missed. */
  recheck(): void
  /** Closes everything that is open. */
  closeAll(reason: CloseReason): void
  /** Open streams by kind. An exchange that is neither WebSocket nor SSE counts once it has lasted for a recheck. */
  count(kind: StreamKind): number
  stop(): void
}

export interface StreamGuardParts {
  /** @throws where the table cannot be asked */
  readonly findMany: (ids: readonly string[]) => Promise<Map<string, TokenRow>>
  readonly scheduler: Scheduler
  /** Milliseconds since the epoch. */
  readonly wallClock: () => number
  /** Milliseconds between rechecks; 0 is never. */
  readonly recheckMs: number
  /** Milliseconds that an exchange stays open though it cannot be looked up; 0 is for ever. */
  readonly faultGraceMs: number
  readonly clockToleranceMs: number
  readonly onClose: (reason: CloseReason) => void
  readonly onFault: (error: unknown) => void
}

interface Watched {
  readonly exchange: OpenExchange
  readonly since: number
  /** When the table last said that its token is good. */
  confirmedAt: number
}

const BATCH = 1000

/** Longer than any look-up may take. */
const KEEP_NOTICES_MS = 60_000

/** What an exchange counts as long-lived after, where nothing is rechecked. */
const LONG_MS = 5000

/**
 * Binds open exchanges to their tokens: an answer that still streams and a WebSocket end when their session
 * does. Ten thousand of them cost ten queries a round.
 */
export function createStreamGuard(parts: StreamGuardParts): StreamGuard {
  const { scheduler } = parts
  const open = new Set<Watched>()
  let noticed = new Set<string>()
  let noticedBefore = new Set<string>()
  let cancelNotices: (() => void) | null = null
  let cancelRound = () => {}
  let cancelForget = () => {}
  let running: Promise<void> | null = null
  let again = false
  let stopped = false

  function close(watched: Watched, reason: CloseReason): void {
    if (!open.delete(watched)) return
    parts.onClose(reason)
    watched.exchange.close(reason)
  }

  /** All that were open before the round began: a younger one has just been looked up. */
  async function round(): Promise<void> {
    const byToken = new Map<string, Watched[]>()
    for (const watched of open) {
      const id = watched.exchange.identity?.tokenId
      if (id === undefined) continue
      const same = byToken.get(id)
      if (same === undefined) byToken.set(id, [watched])
      else same.push(watched)
    }
    const ids = [...byToken.keys()]
    for (let i = 0; i < ids.length; i += BATCH) await judgeBatch(ids.slice(i, i + BATCH), byToken)
  }

  async function judgeBatch(ids: readonly string[], byToken: ReadonlyMap<string, Watched[]>): Promise<void> {
    const askedAt = scheduler.now()
    let rows: Map<string, TokenRow>
    try {
      rows = await parts.findMany(ids)
    } catch (error) {
      parts.onFault(error)
      for (const id of ids) for (const watched of byToken.get(id) ?? []) endAfterGrace(watched)
      return
    }
    for (const id of ids) {
      for (const watched of byToken.get(id) ?? []) judge(watched, rows.get(id), askedAt)
    }
  }

  function judge(watched: Watched, row: TokenRow | undefined, askedAt: number): void {
    const { identity, tokenExpiresAt } = watched.exchange
    if (identity === null) return
    if (row === undefined || row.status !== 'ACTIVE' || isReassigned(row, identity)) close(watched, 'revoked')
    else if (row.expired || tokenExpiresAt + parts.clockToleranceMs <= parts.wallClock())
      close(watched, 'expired')
    else watched.confirmedAt = askedAt
  }

  /** A fault is not a refusal: an exchange ends by it only after it could not be looked up for long. */
  function endAfterGrace(watched: Watched): void {
    if (parts.faultGraceMs > 0 && scheduler.now() - watched.confirmedAt >= parts.faultGraceMs)
      close(watched, 'fault')
  }

  /** One round at a time; a wish that comes while one runs is met by another one after it. */
  function recheck(): void {
    if (running !== null) {
      again = true
      return
    }
    running = round().finally(() => {
      running = null
      if (again && !stopped) {
        again = false
        recheck()
      }
    })
  }

  function schedule(): void {
    if (stopped || parts.recheckMs === 0) return
    cancelRound = scheduler.after(parts.recheckMs, () => {
      recheck()
      schedule()
    })
  }

  function workOffNotices(): void {
    cancelNotices = null
    for (const watched of open) if (wasNoticed(watched.exchange)) close(watched, 'revoked')
  }

  function wasNoticed({ identity }: OpenExchange): boolean {
    return identity !== null && (noticed.has(identity.tokenId) || noticedBefore.has(identity.tokenId))
  }

  /**
   * Notices are kept for a while: one may come between an exchange's look-up and its watch, and the look-up
   * that admitted it was before the revocation then.
   */
  function forgetNotices(): void {
    cancelForget = scheduler.after(KEEP_NOTICES_MS, () => {
      noticedBefore = noticed
      noticed = new Set()
      if (!stopped) forgetNotices()
    })
  }

  schedule()
  forgetNotices()
  return {
    watch(exchange) {
      const now = scheduler.now()
      const watched: Watched = { exchange, since: now, confirmedAt: now }
      open.add(watched)
      if ((noticed.size > 0 || noticedBefore.size > 0) && wasNoticed(exchange))
        cancelNotices ??= scheduler.after(0, workOffNotices)
      return () => open.delete(watched)
    },
    revoked(tokenId) {
      noticed.add(tokenId)
      cancelNotices ??= scheduler.after(1, workOffNotices)
    },
    recheck,
    closeAll(reason) {
      for (const watched of open) close(watched, reason)
    },
    count(kind) {
      const long = scheduler.now() - (parts.recheckMs || LONG_MS)
      let count = 0
      for (const { exchange, since } of open) {
        const its = exchange.kind()
        if (its === kind && (its !== 'other' || since <= long)) count++
      }
      return count
    },
    stop() {
      stopped = true
      cancelRound()
      cancelForget()
      cancelNotices?.()
    },
  }
}

/** The row belongs to somebody else now than when the exchange began. */
function isReassigned(row: TokenRow, identity: Identity): boolean {
  return (
    row.userId !== identity.userId ||
    row.mandateId !== identity.mandateId ||
    row.sessionId !== identity.sessionId
  )
}
