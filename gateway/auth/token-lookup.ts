import { GatewayError } from '../errors.ts'
import type { Scheduler } from '../scheduler.ts'
import { DatabaseError } from './database.ts'
import type { TokenRow, TokenTable } from './token-table.ts'

export type Lookup = { readonly kind: 'found'; readonly row: TokenRow } | { readonly kind: 'unknown' }

export interface TokenLookup {
  /**
   * Looks one token up, afresh. The answer is of a query that was sent after this call.
   *
   * @throws GatewayError `overloaded` where too many look-ups wait, `token_store_unavailable` where the database
   *   gives no answer in time
   */
  find(id: string): Promise<Lookup>
  /** Look-ups not yet answered, sent or not. */
  readonly pending: number
}

export interface TokenLookupParts {
  readonly findMany: TokenTable['findMany']
  /** Queries that may be under way at once. */
  readonly connections: number
  /** Deadline of one look-up, waiting included. */
  readonly timeoutMs: number
  readonly queueMax: number
  readonly scheduler: Scheduler
  /** Told of each query that is sent. */
  readonly onQuery: (ids: number) => void
}

const MAX_BATCH = 1000

/**
 * While a query is under way the next look-ups wait for its end and go together: larger batches cost the
 * database less for each. A query that takes longer than this does not hold the others up any more.
 */
const OVERLAP_AFTER_MS = 5

/** All look-ups of one id that wait for the same query. */
interface Shared {
  readonly promise: Promise<Lookup>
  resolve(found: Lookup): void
  reject(error: GatewayError): void
  waiters: number
  /** When the first of them came. */
  readonly since: number
  settled: boolean
}

type Batch = Map<string, Shared>

const UNKNOWN: Lookup = Object.freeze({ kind: 'unknown' })

/**
 * Turns many single look-ups into few queries. A look-up joins others only as long as their query has not been
 * sent: an answer from before a request arrived must never admit it.
 */
export function createTokenLookup(parts: TokenLookupParts): TokenLookup {
  const { scheduler } = parts
  let waiting: Batch = new Map()
  const underWay = new Set<{ readonly batch: Batch; readonly sentAt: number }>()
  let pending = 0
  let flushScheduled = false
  let cancelOverlap: (() => void) | null = null
  let cancelDeadline: (() => void) | null = null

  function find(id: string): Promise<Lookup> {
    if (pending >= parts.queueMax) {
      return Promise.reject(new GatewayError('overloaded', `${pending} look-ups wait already`))
    }
    pending++
    const before = waiting.get(id)
    if (before !== undefined) {
      before.waiters++
      return before.promise
    }
    const { promise, resolve, reject } = Promise.withResolvers<Lookup>()
    waiting.set(id, { promise, resolve, reject, waiters: 1, since: scheduler.now(), settled: false })
    if (!flushScheduled) schedule()
    return promise
  }

  /** Sends what waits: at the end of this turn of the event loop, or when the query under way is late. */
  function schedule(): void {
    if (waiting.size === 0) return
    armDeadline()
    if (underWay.size === 0) {
      flushScheduled = true
      setImmediate(flush)
      return
    }
    if (underWay.size >= parts.connections || cancelOverlap !== null) return
    const last = [...underWay].at(-1)!
    cancelOverlap = scheduler.after(Math.max(0, last.sentAt + OVERLAP_AFTER_MS - scheduler.now()), () => {
      cancelOverlap = null
      if (!flushScheduled && underWay.size < parts.connections) flush()
    })
  }

  function flush(): void {
    flushScheduled = false
    const batch = takeBatch()
    if (batch.size > 0) void send(batch)
    schedule()
  }

  function takeBatch(): Batch {
    if (waiting.size <= MAX_BATCH) {
      const batch = waiting
      waiting = new Map()
      return batch
    }
    const batch: Batch = new Map()
    for (const [id, shared] of waiting) {
      batch.set(id, shared)
      waiting.delete(id)
      if (batch.size === MAX_BATCH) break
    }
    return batch
  }

  async function send(batch: Batch): Promise<void> {
    const flight = { batch, sentAt: scheduler.now() }
    underWay.add(flight)
    try {
      const rows = await ask([...batch.keys()])
      for (const [id, shared] of batch) {
        const row = rows.get(id)
        settle(shared, row === undefined ? UNKNOWN : { kind: 'found', row })
      }
    } catch (error) {
      const fault = new GatewayError('token_store_unavailable', 'the token table could not be asked', {
        cause: error,
      })
      for (const shared of batch.values()) settle(shared, fault)
    } finally {
      underWay.delete(flight)
      if (!flushScheduled) schedule()
    }
  }

  /** A connection that had gone meanwhile is no reason to fail: the question is put once more, on a fresh one. */
  async function ask(ids: readonly string[]): Promise<Map<string, TokenRow>> {
    parts.onQuery(ids.length)
    try {
      return await parts.findMany(ids, parts.timeoutMs)
    } catch (error) {
      if (!(error instanceof DatabaseError) || !error.stale) throw error
      parts.onQuery(ids.length)
      return await parts.findMany(ids, parts.timeoutMs)
    }
  }

  function settle(shared: Shared, answer: Lookup | GatewayError): void {
    if (shared.settled) return
    shared.settled = true
    pending -= shared.waiters
    if (answer instanceof GatewayError) shared.reject(answer)
    else shared.resolve(answer)
  }

  /** One timer for all: it fires when the oldest look-up is due. */
  function armDeadline(): void {
    if (cancelDeadline !== null) return
    cancelDeadline = scheduler.after(Math.max(1, oldest() + parts.timeoutMs - scheduler.now()), () => {
      cancelDeadline = null
      expire()
      if (pending > 0) armDeadline()
    })
  }

  function batches(): Batch[] {
    return [...[...underWay].map((flight) => flight.batch), waiting]
  }

  function oldest(): number {
    for (const batch of batches())
      for (const shared of batch.values()) if (!shared.settled) return shared.since
    return scheduler.now()
  }

  function expire(): void {
    const due = scheduler.now() - parts.timeoutMs
    for (const batch of batches()) {
      for (const [id, shared] of batch) {
        if (shared.settled || shared.since > due) continue
        batch.delete(id)
        settle(shared, new GatewayError('token_store_unavailable', `no answer within ${parts.timeoutMs} ms`))
      }
    }
  }

  return {
    find,
    get pending() {
      return pending
    },
  }
}
