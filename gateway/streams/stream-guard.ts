import type { Identity } from '../auth/authenticator.ts'
import { isReassigned } from '../auth/token-store/row-decision.ts'
import type { TokenRow } from '../auth/token-store/token-table.ts'
import type { Scheduler } from '../core/scheduler.ts'
import type { CloseReason, StreamKind } from '../core/stream-kinds.ts'
import { IntrusiveSet, type SetLinks } from './intrusive-set.ts'
import { createRecentRevocations } from './recent-revocations.ts'

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

interface Watched extends SetLinks {
  readonly exchange: OpenExchange
  readonly since: number
  /** When the table last said that its token is good. */
  confirmedAt: number
}

const BATCH = 1000

/** The kernel takes its time to close a connection, two of which go with a stream; others wait for the turn's end. */
const CLOSES_A_TURN = 32

/** Of the time, at most the twentieth part goes into comparing notices with what is open. */
const NOTICE_SHARE = 20

/** Longer than any look-up may take: a notice may come between an exchange's look-up and its watch. */
const KEEP_NOTICES_MS = 60_000

/** What an exchange counts as long-lived after, where nothing is rechecked. */
const LONG_MS = 5000

/**
 * Binds open exchanges to their tokens: an answer that still streams and a WebSocket end when their session
 * does. Ten thousand of them cost ten queries a round.
 */
export function createStreamGuard(parts: StreamGuardParts): StreamGuard {
  const { scheduler } = parts
  const open = new IntrusiveSet<Watched>()
  const leaving = new Map<Watched, CloseReason>()
  let cancelLeaving: (() => void) | null = null
  const noticed = createRecentRevocations(scheduler, KEEP_NOTICES_MS)
  const fresh = new Set<string>()
  let cancelNotices: (() => void) | null = null
  let nextNoticesAt = 0
  const suspects = new Set<Watched>()
  let cancelSuspects: (() => void) | null = null
  let cancelRound = () => {}
  let running: Promise<void> | null = null
  let again = false
  let stopped = false

  function close(watched: Watched, reason: CloseReason): void {
    leaving.delete(watched)
    if (!open.delete(watched)) return
    parts.onClose(reason)
    watched.exchange.close(reason)
  }

  /** A few a turn: ten thousand that end at once must not hold up the requests of others. */
  function closeSome(): void {
    cancelLeaving?.()
    cancelLeaving = null
    let left = CLOSES_A_TURN
    for (const [watched, reason] of leaving) {
      if (left-- === 0) break
      close(watched, reason)
    }
    if (leaving.size > 0) cancelLeaving = scheduler.after(0, closeSome)
  }

  /** Asks for each token once. What is opened meanwhile has just been looked up. */
  async function look(at: Iterable<Watched>): Promise<void> {
    const byToken = new Map<string, Watched[]>()
    for (const watched of at) {
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
      closeSome()
      return
    }
    for (const id of ids) {
      for (const watched of byToken.get(id) ?? []) judge(watched, rows.get(id), askedAt)
    }
    closeSome()
  }

  function judge(watched: Watched, row: TokenRow | undefined, askedAt: number): void {
    const { identity, tokenExpiresAt } = watched.exchange
    if (identity === null) return
    if (row === undefined || !row.active || isReassigned(identity, row)) leaving.set(watched, 'revoked')
    else if (row.expired || tokenExpiresAt + parts.clockToleranceMs <= parts.wallClock())
      leaving.set(watched, 'expired')
    else watched.confirmedAt = askedAt
  }

  /** A fault is not a refusal: an exchange ends by it only after it could not be looked up for long. */
  function endAfterGrace(watched: Watched): void {
    if (parts.faultGraceMs > 0 && scheduler.now() - watched.confirmedAt >= parts.faultGraceMs)
      leaving.set(watched, 'fault')
  }

  /** One round at a time; a wish that comes while one runs is met by another one after it. */
  function recheck(): void {
    if (running !== null) {
      again = true
      return
    }
    running = look(open).finally(() => {
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
    const began = scheduler.now()
    for (const watched of open) {
      const { identity } = watched.exchange
      if (identity !== null && fresh.has(identity.tokenId)) leaving.set(watched, 'revoked')
    }
    fresh.clear()
    const ended = scheduler.now()
    nextNoticesAt = ended + NOTICE_SHARE * (ended - began)
    closeSome()
  }

  /** The look-up that admitted it may be from before the notice, or the token is good again since. */
  function suspect(watched: Watched): void {
    suspects.add(watched)
    cancelSuspects ??= scheduler.after(0, () => {
      cancelSuspects = null
      const asked = [...suspects].filter((each) => open.has(each))
      suspects.clear()
      void look(asked)
    })
  }

  schedule()
  return {
    watch(exchange) {
      const now = scheduler.now()
      const watched: Watched = {
        exchange,
        since: now,
        confirmedAt: now,
        previous: null,
        next: null,
        linked: false,
      }
      open.add(watched)
      if (exchange.identity !== null && noticed.has(exchange.identity.tokenId)) suspect(watched)
      return () => {
        open.delete(watched)
        if (leaving.size > 0) leaving.delete(watched)
      }
    },
    revoked(tokenId) {
      noticed.add(tokenId)
      fresh.add(tokenId)
      cancelNotices ??= scheduler.after(Math.max(1, nextNoticesAt - scheduler.now()), workOffNotices)
    },
    recheck,
    closeAll(reason) {
      for (const watched of [...open]) close(watched, reason)
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
      noticed.stop()
      cancelNotices?.()
      cancelLeaving?.()
      cancelSuspects?.()
    },
  }
}
