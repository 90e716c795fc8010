import type { Scheduler } from '../core/scheduler.ts'

/** A place in a line. */
export interface Place<T> {
  /** What was waited for, or what stands for it when the time is over; null after `leave`. Never rejects. */
  readonly turn: Promise<T | null>
  /** Gives the place up; does nothing once the turn has come. */
  leave(): void
}

export interface WaitingLine<T> {
  readonly length: number
  /** @param take what to wait for: asked again at each `move`, null where there is still none */
  join(take: () => T | null): Place<T>
  /** Something may have come free: serves who waits, first come, first served. */
  move(): void
}

export interface WaitingLineParts<T> {
  readonly timeoutMs: number
  /** What comes in place of the turn after that time. */
  readonly tooLate: T
  readonly scheduler: Scheduler
  /** False where nobody can be served now. */
  readonly mayServe: () => boolean
  /** Told when the first one joins, and when nobody waits any more. */
  readonly onWaiting: (some: boolean) => void
}

interface Waiter<T> {
  readonly take: () => T | null
  serve(turn: T | null): void
}

/** Those who wait for a connection. undici has such a queue, too; but nobody can leave it, and nobody is late in it. */
export function createWaitingLine<T>(parts: WaitingLineParts<T>): WaitingLine<T> {
  const waiting = new Set<Waiter<T>>()

  function join(take: () => T | null): Place<T> {
    let leave = () => {}
    const turn = new Promise<T | null>((resolve) => {
      const waiter: Waiter<T> = {
        take,
        serve(got) {
          if (!waiting.delete(waiter)) return
          cancel()
          if (waiting.size === 0) parts.onWaiting(false)
          resolve(got)
        },
      }
      const cancel = parts.scheduler.after(parts.timeoutMs, () => waiter.serve(parts.tooLate))
      leave = () => waiter.serve(null)
      waiting.add(waiter)
      if (waiting.size === 1) parts.onWaiting(true)
    })
    return { turn, leave }
  }

  return {
    get length() {
      return waiting.size
    },
    join,
    move() {
      for (const waiter of waiting) {
        if (!parts.mayServe()) return
        const got = waiter.take()
        if (got !== null) waiter.serve(got)
      }
    },
  }
}
