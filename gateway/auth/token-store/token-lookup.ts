import { GatewayError } from '../../core/errors.ts'
import { mayTakeMore } from '../../core/holdings.ts'
import type { Scheduler } from '../../core/scheduler.ts'
import { queryHosts } from './host-retries.ts'
import type { TokenRow, TokenTable } from './token-table.ts'

export type Lookup =
  | { readonly kind: 'found'; readonly row: TokenRow }
  | { readonly kind: 'unknown' }
  /** `overloaded` where too many look-ups wait, `token_store_unavailable` where the database gave no answer in time. */
  | { readonly kind: 'failed'; readonly error: GatewayError }

/** Receives the answer of a look-up. A promise instead would cost half a kilobyte and half a microsecond a request. */
export type LookupCallback = (found: Lookup) => void

export interface TokenLookup {
  /**
   * Looks one token up. The answer is always that of a query sent after this call.
   *
   * @param onResult called once, and synchronously only where too many look-ups are pending; must not throw
   * @param held how many pending ones the client's connection has already
   */
  find(id: string, onResult: LookupCallback, held?: number): void
  /** Look-ups not yet answered, sent or not. */
  readonly pending: number
}

export interface TokenLookupParts {
  readonly findMany: TokenTable['findMany']
  /** How many servers the database has; a query is repeated as often where its connection turned out to be stale. */
  readonly hosts: number
  /** Queries that may be under way at once. */
  readonly connections: number
  /** Deadline of one look-up, waiting included. */
  readonly timeoutMs: number
  readonly queueMax: number
  readonly scheduler: Scheduler
  /** Called for each query that is sent. @param ids how many tokens it looks up */
  readonly onQuery: (ids: number) => void
}

const MAX_BATCH = 1000

/**
 * While a query is under way the next look-ups wait for its end and form a batch, since larger batches cost the database
 * less for each token. They wait at most this long, in milliseconds.
 */
const OVERLAP_AFTER_MS = 5

/** All look-ups of one id that share a query. */
interface SharedLookup {
  readonly onResult: LookupCallback
  /** The callbacks of later look-ups; null in most cases, which saves an array. */
  others: LookupCallback[] | null
  /** When the first look-up came. */
  readonly since: number
  isDone: boolean
}

type Batch = Map<string, SharedLookup>

/** A query that was sent and has not been answered. */
interface SentBatch {
  readonly batch: Batch
  readonly sentAt: number
}

const UNKNOWN: Lookup = Object.freeze({ kind: 'unknown' })

/**
 * Turns many single look-ups into few queries. A look-up joins others only as long as their query has not been
 * sent: an answer from before a request arrived must never admit it.
 */
export function createTokenLookup(parts: TokenLookupParts): TokenLookup {
  const { scheduler } = parts
  let waiting: Batch = new Map()
  // Not a `Set`, whose outgrown tables keep each other and their members alive (see `IntrusiveSet`). With one, and with
  // overlapping queries, three of five processes kept 600 to 1,900 bytes a request until the next full collection.
  const underWay: SentBatch[] = []
  let pending = 0
  let flushScheduled = false
  let cancelOverlap: (() => void) | null = null
  let cancelDeadline: (() => void) | null = null

  function find(id: string, onResult: LookupCallback, held = 0): void {
    if (!mayTakeMore(held, parts.queueMax - pending)) {
      const whose = held === 0 ? '' : `, ${held} of this connection`
      onResult(failed(new GatewayError('overloaded', `${pending} look-ups are pending already${whose}`)))
      return
    }
    pending++
    const before = waiting.get(id)
    if (before === undefined) {
      waiting.set(id, { onResult, others: null, since: scheduler.now(), isDone: false })
      if (!flushScheduled) schedule()
    } else if (before.others === null) before.others = [onResult]
    else before.others.push(onResult)
  }

  /** Has the waiting look-ups sent: at the end of this turn of the event loop, or when the query under way is late. */
  function schedule(): void {
    if (waiting.size === 0) return
    startDeadline()
    if (underWay.length === 0) {
      flushScheduled = true
      setImmediate(flush)
      return
    }
    if (underWay.length >= parts.connections || cancelOverlap !== null) return
    const last = underWay.at(-1)!
    cancelOverlap = scheduler.after(Math.max(0, last.sentAt + OVERLAP_AFTER_MS - scheduler.now()), () => {
      cancelOverlap = null
      if (!flushScheduled && underWay.length < parts.connections) flush()
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
    const sent: SentBatch = { batch, sentAt: scheduler.now() }
    underWay.push(sent)
    const rows = await findRows([...batch.keys()])
    underWay.splice(underWay.indexOf(sent), 1)
    if (rows instanceof GatewayError) {
      const fault = failed(rows)
      for (const shared of batch.values()) answer(shared, fault)
    } else {
      batch.forEach((shared, id) => {
        const row = rows.get(id)
        answer(shared, row === undefined ? UNKNOWN : { kind: 'found', row })
      })
    }
    if (!flushScheduled) schedule()
  }

  async function findRows(ids: readonly string[]): Promise<ReadonlyMap<string, TokenRow> | GatewayError> {
    try {
      return await queryHosts(parts.hosts, () => {
        parts.onQuery(ids.length)
        return parts.findMany(ids, parts.timeoutMs)
      })
    } catch (cause) {
      return new GatewayError('token_store_unavailable', 'the token table could not be queried', { cause })
    }
  }

  function answer(shared: SharedLookup, found: Lookup): void {
    if (shared.isDone) return
    shared.isDone = true
    pending--
    shared.onResult(found)
    if (shared.others === null) return
    pending -= shared.others.length
    for (const onResult of shared.others) onResult(found)
  }

  /** One timer for all look-ups: it fires when the oldest one is due. */
  function startDeadline(): void {
    if (cancelDeadline !== null) return
    cancelDeadline = scheduler.after(Math.max(1, oldestArrival() + parts.timeoutMs - scheduler.now()), () => {
      cancelDeadline = null
      expire()
      if (pending > 0) startDeadline()
    })
  }

  function batches(): Batch[] {
    return [...underWay.map((sent) => sent.batch), waiting]
  }

  function oldestArrival(): number {
    for (const batch of batches())
      for (const shared of batch.values()) if (!shared.isDone) return shared.since
    return scheduler.now()
  }

  function expire(): void {
    const due = scheduler.now() - parts.timeoutMs
    for (const batch of batches()) {
      for (const [id, shared] of batch) {
        if (shared.isDone || shared.since > due) continue
        batch.delete(id)
        answer(
          shared,
          failed(new GatewayError('token_store_unavailable', `no answer within ${parts.timeoutMs} ms`)),
        )
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

function failed(error: GatewayError): Lookup {
  return { kind: 'failed', error }
}
