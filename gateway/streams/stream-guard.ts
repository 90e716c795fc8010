import type { Identity } from '../auth/authenticator.ts'
import { isReassigned } from '../auth/token-store/row-decision.ts'
import type { TokenRow } from '../auth/token-store/token-table.ts'
import type { Scheduler } from '../core/scheduler.ts'
import type { CloseReason, StreamKind } from '../core/stream-kinds.ts'
import { IntrusiveSet, type SetLinks } from './intrusive-set.ts'
import { type CountedExchange, countStreams, type LateAnswers, lateAnswers } from './open-counts.ts'
import { createRecentRevocations } from './recent-revocations.ts'
import { createRevocationNotices } from './revocation-notices.ts'

/** An open exchange, as far as the guard needs it. */
export type OpenExchange = CountedExchange['exchange'] & {
  /** Null where the exchange was admitted without a token. */
  readonly identity: Identity | null
  /** When the token itself ends, epoch milliseconds. */
  readonly tokenExpiresAt: number
  /** Closes both connections; called at most once. */
  close(reason: CloseReason): void
}

export interface StreamGuard {
  /** Watches an exchange. @returns ends the watch; to be called when the exchange is over */
  watch(exchange: OpenExchange): () => void
  /** Closes the exchanges of this token soon; notifications that come together are handled together. */
  closeByToken(tokenId: string): void
  /**
   * Looks all tokens up again now, because notifications may have been missed, or another server decides now. Where the
   * table does not answer it is asked again soon.
   */
  recheck(): void
  /** Closes all exchanges. */
  closeAll(reason: CloseReason): void
  /** Open streams by kind. An exchange that is neither WebSocket nor SSE counts once it has lasted for a recheck. */
  count(kind: StreamKind): number
  /** How many exchanges have waited for the answer of each upstream for longer than this, and the longest wait. */
  lateAnswers(longerThanMs: number): ReadonlyMap<string, LateAnswers>
  stop(): void
}

export interface StreamGuardParts {
  /** @throws DatabaseError */
  readonly findMany: (ids: readonly string[]) => Promise<Map<string, TokenRow>>
  readonly scheduler: Scheduler
  /** Milliseconds since the epoch. */
  readonly wallClock: () => number
  /** Milliseconds between rechecks; 0 is never. */
  readonly recheckMs: number
  /** Milliseconds that an exchange stays open while its token cannot be looked up; 0 is without limit. */
  readonly faultGraceMs: number
  readonly clockToleranceMs: number
  readonly onClose: (reason: CloseReason) => void
  readonly onFault: (error: unknown) => void
}

interface WatchedExchange extends SetLinks {
  readonly exchange: OpenExchange
  readonly since: number
  /** When the query was sent that last found its token good. */
  confirmedAt: number
}

const BATCH = 1000

/** How many exchanges are closed in one turn of the event loop: each has two connections, which take the kernel time. */
const MAX_CLOSES_PER_TURN = 32

/** The pause after a round that was asked for and not answered. */
const UNANSWERED_PAUSE_MS = 250

/** Longer than any look-up may take, because a notification can come between an exchange's look-up and its watch. */
const KEEP_REVOCATIONS_MS = 60_000

/** After this time an exchange counts as a stream, where rechecks are off. */
const STREAM_AFTER_MS = 5000

/**
 * Binds open exchanges to their tokens: an answer that still streams, or a WebSocket, is closed when its session ends. The
 * tokens are looked up in batches, so that ten thousand exchanges cost ten queries a round.
 */
export function createStreamGuard(parts: StreamGuardParts): StreamGuard {
  const { scheduler } = parts
  const open = new IntrusiveSet<WatchedExchange>()
  const closing = new Map<WatchedExchange, CloseReason>()
  let cancelClosing: (() => void) | null = null
  const recentlyRevoked = createRecentRevocations(scheduler, KEEP_REVOCATIONS_MS)
  const notices = createRevocationNotices(scheduler, closeRevoked)
  const toRecheck = new Set<WatchedExchange>()
  let cancelRecheckSoon: (() => void) | null = null
  let cancelRound = () => {}
  let running: Promise<void> | null = null
  let recheckAgain = false
  /** A round was asked for, and none was answered since. */
  let isOwed = false
  let cancelOwed = () => {}
  let stopped = false

  function close(watched: WatchedExchange, reason: CloseReason): void {
    closing.delete(watched)
    if (!open.delete(watched)) return
    parts.onClose(reason)
    watched.exchange.close(reason)
  }

  /** Closes a few in each turn, since ten thousand that end at once must not hold up other requests. */
  function closeSome(): void {
    cancelClosing?.()
    cancelClosing = null
    let left = MAX_CLOSES_PER_TURN
    for (const [watched, reason] of closing) {
      if (left-- === 0) break
      close(watched, reason)
    }
    if (closing.size > 0) cancelClosing = scheduler.after(0, closeSome)
  }

  /** Looks each token up once, but none of an exchange that is opened meanwhile. @returns whether all were answered */
  async function lookUp(exchanges: Iterable<WatchedExchange>): Promise<boolean> {
    const byToken = new Map<string, WatchedExchange[]>()
    for (const watched of exchanges) {
      const id = watched.exchange.identity?.tokenId
      if (id === undefined) continue
      const same = byToken.get(id)
      if (same === undefined) byToken.set(id, [watched])
      else same.push(watched)
    }
    const ids = [...byToken.keys()]
    let answered = true
    for (let i = 0; i < ids.length; i += BATCH)
      answered = (await checkBatch(ids.slice(i, i + BATCH), byToken)) && answered
    return answered
  }

  async function checkBatch(
    ids: readonly string[],
    byToken: ReadonlyMap<string, WatchedExchange[]>,
  ): Promise<boolean> {
    const askedAt = scheduler.now()
    let rows: Map<string, TokenRow>
    try {
      rows = await parts.findMany(ids)
    } catch (error) {
      parts.onFault(error)
      for (const id of ids) for (const watched of byToken.get(id) ?? []) closeAfterGrace(watched)
      closeSome()
      return false
    }
    for (const id of ids) {
      for (const watched of byToken.get(id) ?? []) checkExchange(watched, rows.get(id), askedAt)
    }
    closeSome()
    return true
  }

  function checkExchange(watched: WatchedExchange, row: TokenRow | undefined, askedAt: number): void {
    const { identity, tokenExpiresAt } = watched.exchange
    if (identity === null) return
    if (row === undefined || !row.active || isReassigned(identity, row)) closing.set(watched, 'revoked')
    else if (row.expired || tokenExpiresAt + parts.clockToleranceMs <= parts.wallClock())
      closing.set(watched, 'expired')
    else watched.confirmedAt = askedAt
  }

  /** A fault is not a refusal: it closes an exchange only after the token could not be looked up for the whole grace. */
  function closeAfterGrace(watched: WatchedExchange): void {
    if (parts.faultGraceMs > 0 && scheduler.now() - watched.confirmedAt >= parts.faultGraceMs)
      closing.set(watched, 'fault')
  }

  /** Runs one round at a time; a call during a round has another one run after it. */
  function recheck(): void {
    if (stopped) return
    if (running !== null) {
      recheckAgain = true
      return
    }
    running = runRound().finally(() => {
      running = null
      if (!recheckAgain) return
      recheckAgain = false
      recheck()
    })
  }

  async function runRound(): Promise<void> {
    cancelOwed()
    const answered = await lookUp(open)
    if (answered) isOwed = recheckAgain && isOwed
    else if (isOwed && !stopped) cancelOwed = scheduler.after(UNANSWERED_PAUSE_MS, recheck)
  }

  function scheduleRecheck(): void {
    if (stopped || parts.recheckMs === 0) return
    cancelRound = scheduler.after(parts.recheckMs, () => {
      recheck()
      scheduleRecheck()
    })
  }

  function closeRevoked(tokenIds: ReadonlySet<string>): void {
    for (const watched of open) {
      const { identity } = watched.exchange
      if (identity !== null && tokenIds.has(identity.tokenId)) closing.set(watched, 'revoked')
    }
    // In a turn of its own, since closing is no part of the time that comparing may take.
    if (closing.size > 0) cancelClosing ??= scheduler.after(0, closeSome)
  }

  /** Looks a new exchange up again: its look-up may be from before the notification, or its token is good again since. */
  function recheckSoon(watched: WatchedExchange): void {
    toRecheck.add(watched)
    cancelRecheckSoon ??= scheduler.after(0, () => {
      cancelRecheckSoon = null
      const stillOpen = [...toRecheck].filter((each) => open.has(each))
      toRecheck.clear()
      void lookUp(stillOpen)
    })
  }

  scheduleRecheck()
  return {
    watch(exchange) {
      const now = scheduler.now()
      const watched: WatchedExchange = {
        exchange,
        since: now,
        confirmedAt: now,
        previous: null,
        next: null,
        linked: false,
      }
      open.add(watched)
      if (exchange.identity !== null && recentlyRevoked.has(exchange.identity.tokenId)) recheckSoon(watched)
      return () => {
        open.delete(watched)
        if (closing.size > 0) closing.delete(watched)
      }
    },
    closeByToken(tokenId) {
      recentlyRevoked.add(tokenId)
      notices.add(tokenId)
    },
    recheck() {
      isOwed = true
      recheck()
    },
    closeAll(reason) {
      for (const watched of [...open]) close(watched, reason)
    },
    count: (kind) => countStreams(open, kind, scheduler.now() - (parts.recheckMs || STREAM_AFTER_MS)),
    lateAnswers(longerThanMs) {
      const now = scheduler.now()
      return lateAnswers(open, now - longerThanMs, now)
    },
    stop() {
      stopped = true
      cancelRound()
      cancelOwed()
      recentlyRevoked.stop()
      notices.stop()
      cancelClosing?.()
      cancelRecheckSoon?.()
    },
  }
}
