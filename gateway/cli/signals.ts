/** What the process is told from outside. */
export interface Signals {
  readonly first: Promise<void>
  readonly second: Promise<void>
  /** Called at each SIGHUP, those that came before included. */
  onHangUp(listener: () => void): void
}

/** Ctrl-C is for all processes of a terminal's group, and those that started this one may hand it on. */
const SAME_INTERRUPT_MS = 100

/**
 * The first SIGTERM or SIGINT asks to leave in order, the second to leave now. To be called before anything is waited
 * for: by default each of them, and SIGHUP, ends the process.
 *
 * @param now milliseconds, monotonic
 */
export function hearSignals(
  on: (name: NodeJS.Signals, listener: () => void) => void,
  now: () => number,
): Signals {
  const first = Promise.withResolvers<void>()
  const second = Promise.withResolvers<void>()
  let count = 0
  let hungUp = false
  let reload = () => {
    hungUp = true
  }
  const onEach = () => {
    count++
    if (count === 1) first.resolve()
    else second.resolve()
  }
  on('SIGHUP', () => reload())
  on('SIGTERM', onEach)
  let interruptedAt = Number.NEGATIVE_INFINITY
  on('SIGINT', () => {
    const isSame = now() - interruptedAt < SAME_INTERRUPT_MS
    interruptedAt = now()
    if (!isSame) onEach()
  })
  return {
    first: first.promise,
    second: second.promise,
    onHangUp(listener) {
      reload = listener
      if (hungUp) listener()
    },
  }
}
