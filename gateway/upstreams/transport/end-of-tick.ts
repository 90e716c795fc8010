/** Has something to do once this turn of the event loop has read all that had arrived. */
export interface Deferred {
  /** The next one of the same turn; the turn's end keeps it. */
  nextDeferred: Deferred | null
  /** Must not throw. */
  onEndOfTick(): void
}

export interface EndOfTick {
  /** Each is told once, in the order in which they came. One that waits already must not come again. */
  add(deferred: Deferred): void
}

/**
 * Writes of one turn, done together at its end, in place of each as its answer is read: a reader that a write has
 * woken is still awake for the next one. On loopback that is a seventh of what a proxy of two sockets costs at all.
 * A chain of its members, since an array would be made anew in each turn.
 */
export function createEndOfTick(): EndOfTick {
  let first: Deferred | null = null
  let last: Deferred | null = null

  function end(): void {
    let at = first
    first = null
    last = null
    while (at !== null) {
      const next: Deferred | null = at.nextDeferred
      at.nextDeferred = null
      at.onEndOfTick()
      at = next
    }
  }

  return {
    add(deferred) {
      if (last === null) {
        first = deferred
        setImmediate(end)
      } else last.nextDeferred = deferred
      last = deferred
    },
  }
}
