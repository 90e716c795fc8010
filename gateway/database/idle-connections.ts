import type { Scheduler } from '../core/scheduler.ts'

/** A connection that is idle for this long is closed. */
const MAX_IDLE_MS = 30_000

/** The unused connections. The one that was used last is used first. */
export interface IdleConnections<T> {
  add(entry: T): void
  /** Of those that are outdated none is given; they expire. */
  take(): T | undefined
  takeAll(): T[]
  delete(entry: T): void
  /** Stops closing what is idle for too long. */
  stop(): void
}

/**
 * @param onExpired called with a connection that was unused for half a minute, or is outdated, after it was removed from
 *   the list
 */
export function createIdleConnections<T extends { idleSince: number; readonly isOutdated: boolean }>(
  scheduler: Scheduler,
  onExpired: (entry: T) => void,
): IdleConnections<T> {
  /** Ordered by the time of the last use, the longest unused first. */
  const entries: T[] = []
  let cancelSweep: (() => void) | null = null

  function sweep(): void {
    cancelSweep = null
    const due = scheduler.now() - MAX_IDLE_MS
    while (entries.length > 0 && entries[0]!.idleSince <= due) onExpired(entries.shift()!)
    const [next] = entries
    if (next !== undefined) cancelSweep = scheduler.after(Math.max(1, next.idleSince - due), sweep)
  }

  return {
    add(entry) {
      entry.idleSince = scheduler.now()
      entries.push(entry)
      cancelSweep ??= scheduler.after(MAX_IDLE_MS, sweep)
    },
    take() {
      let entry = entries.pop()
      while (entry?.isOutdated === true) {
        onExpired(entry)
        entry = entries.pop()
      }
      return entry
    },
    takeAll: () => entries.splice(0),
    delete(entry) {
      entries.splice(entries.indexOf(entry), 1)
    },
    stop: () => cancelSweep?.(),
  }
}
