/** The signals that ask the process to end or to reload. */
export interface Signals {
  readonly first: Promise<void>
  readonly second: Promise<void>
  /** @param listener called at each SIGHUP, and at once where one came before */
  onHangUp(listener: () => void): void
}

/** Ctrl-C reaches every process of the terminal's group, and the process that started this one may pass it on as well. */
const SAME_INTERRUPT_MS = 100

/**
 * The first SIGTERM or SIGINT asks for a drain, the second one for an end at once. It is called before anything else is
 * awaited: without a listener each of them, and SIGHUP, ends the process.
 *
 * @param now milliseconds, monotonic
 */
export function watchSignals(
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
