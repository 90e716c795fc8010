import type { Scheduler } from '../core/scheduler.ts'

/** How long the event loop was held up lately. */
export interface EventLoopWatch {
  /** Milliseconds of the last minute for which it was held up, waits of up to a tenth of a second left out. */
  readonly heldUpMs: number
  stop(): void
}

const EVERY_MS = 200
/** Requests notice a longer wait; a collection of garbage is mostly shorter. */
const NOTICED_MS = 100
const WINDOW_MS = 60_000

/**
 * Looks at how late a timer is. The histogram of the metrics counts the timer's turns, which become rare while the loop
 * is held up, and begins anew with each scrape; here one long wait counts by its length.
 */
export function watchEventLoop({ now, after }: Scheduler): EventLoopWatch {
  const waits: { readonly at: number; readonly ms: number }[] = []
  let due = now() + EVERY_MS
  let cancel = after(EVERY_MS, look)

  function look(): void {
    const at = now()
    if (at - due > NOTICED_MS) waits.push({ at, ms: at - due })
    forgetOld(at)
    due = at + EVERY_MS
    cancel = after(EVERY_MS, look)
  }

  function forgetOld(at: number): void {
    while (waits.length > 0 && at - waits[0]!.at > WINDOW_MS) waits.shift()
  }

  return {
    get heldUpMs() {
      forgetOld(now())
      return Math.min(
        WINDOW_MS,
        waits.reduce((sum, { ms }) => sum + ms, 0),
      )
    },
    stop: () => cancel(),
  }
}
