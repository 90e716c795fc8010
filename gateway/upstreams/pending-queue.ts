import { type Holdings, mayTakeMore } from '../core/holdings.ts'
import type { Scheduler } from '../core/scheduler.ts'

/** A request's position in the queue. */
export interface Ticket<T> {
  /** What was waited for, or `onTimeout` where the wait took too long; null after `cancel`. Never rejects. */
  readonly result: Promise<T | null>
  /** Leaves the queue. Does nothing once there is a result. */
  cancel(): void
}

export interface PendingQueue<T> {
  readonly length: number
  /**
   * Adds a request.
   *
   * @param holdings those of its connection; null where that carries one exchange at a time
   * @param tryTake called by `serve`; returns what is waited for, or null where it is still not available
   * @returns null where the queue has no place for it
   */
  enqueue(holdings: Holdings | null, tryTake: () => T | null): Ticket<T> | null
  /** Serves the waiting requests. Called when a connection may have become free. */
  serve(): void
}

export interface PendingQueueParts<T> {
  readonly max: number
  readonly timeoutMs: number
  /** The result of a wait that lasted longer than `timeoutMs`. */
  readonly onTimeout: T
  readonly scheduler: Scheduler
  /** False where no request of a connection with these holdings can be served at the moment. */
  readonly mayServe: (holdings: Holdings | null) => boolean
  /** Called with true when the queue is no longer empty, and with false when it is empty again. */
  readonly onWaitingChange: (isWaiting: boolean) => void
}

interface Waiter<T> {
  readonly tryTake: () => T | null
  finish(result: T | null): void
}

/** The waiting requests of one connection. */
interface Line<T> {
  readonly holdings: Holdings | null
  readonly waiters: Set<Waiter<T>>
}

/**
 * The requests that wait for a connection to a target. Those of one client's connection form a line, first come, first
 * served; the lines are served in turn, one request each, so that nobody waits for all that another one has asked for.
 */
export function createPendingQueue<T>(parts: PendingQueueParts<T>): PendingQueue<T> {
  /** In the order of their turns. */
  const lines = new Set<Line<T>>()
  const lineOf = new Map<Holdings, Line<T>>()
  let length = 0

  function join(waiter: Waiter<T>, holdings: Holdings | null): Line<T> {
    const line = (holdings && lineOf.get(holdings)) ?? { holdings, waiters: new Set() }
    line.waiters.add(waiter)
    lines.add(line)
    if (holdings !== null) lineOf.set(holdings, line)
    length++
    if (length === 1) parts.onWaitingChange(true)
    return line
  }

  /** @returns false where it has left already */
  function leave(waiter: Waiter<T>, line: Line<T>): boolean {
    if (!line.waiters.delete(waiter)) return false
    length--
    if (line.waiters.size === 0) {
      lines.delete(line)
      if (line.holdings !== null) lineOf.delete(line.holdings)
    }
    if (length === 0) parts.onWaitingChange(false)
    return true
  }

  function wait(holdings: Holdings | null, tryTake: () => T | null): Ticket<T> {
    let cancel = () => {}
    const result = new Promise<T | null>((resolve) => {
      const waiter: Waiter<T> = {
        tryTake,
        finish(taken) {
          if (!leave(waiter, line)) return
          cancelTimeout()
          resolve(taken)
        },
      }
      const cancelTimeout = parts.scheduler.after(parts.timeoutMs, () => waiter.finish(parts.onTimeout))
      cancel = () => waiter.finish(null)
      const line = join(waiter, holdings)
    })
    return { result, cancel }
  }

  /** @returns whether one of its requests was served */
  function serveOne({ holdings, waiters }: Line<T>): boolean {
    if (!parts.mayServe(holdings)) return false
    for (const waiter of waiters) {
      const taken = waiter.tryTake()
      if (taken === null) continue
      waiter.finish(taken)
      return true
    }
    return false
  }

  return {
    get length() {
      return length
    },
    enqueue(holdings, tryTake) {
      const waiting = (holdings && lineOf.get(holdings)?.waiters.size) ?? 0
      return mayTakeMore(waiting, parts.max - length) ? wait(holdings, tryTake) : null
    },
    serve() {
      // A line that goes to the end of the set is come to again, until it cannot be served any more.
      for (const line of lines) {
        if (!parts.mayServe(null)) return
        if (!serveOne(line) || line.waiters.size === 0) continue
        lines.delete(line)
        lines.add(line)
      }
    },
  }
}
