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
   * Adds a request at the end of the queue.
   *
   * @param tryTake called by `serve`; returns what is waited for, or null where it is still not available
   */
  enqueue(tryTake: () => T | null): Ticket<T>
  /** Serves the waiting requests, first come, first served. Called when a connection may have become free. */
  serve(): void
}

export interface PendingQueueParts<T> {
  readonly timeoutMs: number
  /** The result of a wait that lasted longer than `timeoutMs`. */
  readonly onTimeout: T
  readonly scheduler: Scheduler
  /** False where no request can be served at the moment. */
  readonly mayServe: () => boolean
  /** Called with true when the queue is no longer empty, and with false when it is empty again. */
  readonly onWaitingChange: (isWaiting: boolean) => void
}

interface Waiter<T> {
  readonly tryTake: () => T | null
  finish(result: T | null): void
}

/**
 * The requests that wait for a connection. undici has such a queue as well, but its requests cannot leave it and have no
 * time limit.
 */
export function createPendingQueue<T>(parts: PendingQueueParts<T>): PendingQueue<T> {
  const waiting = new Set<Waiter<T>>()

  function enqueue(tryTake: () => T | null): Ticket<T> {
    let cancel = () => {}
    const result = new Promise<T | null>((resolve) => {
      const waiter: Waiter<T> = {
        tryTake,
        finish(taken) {
          if (!waiting.delete(waiter)) return
          cancelTimeout()
          if (waiting.size === 0) parts.onWaitingChange(false)
          resolve(taken)
        },
      }
      const cancelTimeout = parts.scheduler.after(parts.timeoutMs, () => waiter.finish(parts.onTimeout))
      cancel = () => waiter.finish(null)
      waiting.add(waiter)
      if (waiting.size === 1) parts.onWaitingChange(true)
    })
    return { result, cancel }
  }

  return {
    get length() {
      return waiting.size
    },
    enqueue,
    serve() {
      for (const waiter of waiting) {
        if (!parts.mayServe()) return
        const taken = waiter.tryTake()
        if (taken !== null) waiter.finish(taken)
      }
    },
  }
}
