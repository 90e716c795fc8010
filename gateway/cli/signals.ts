/** What the process is told from outside. */
export interface Signals {
  readonly first: Promise<void>
  readonly second: Promise<void>
  /** Called at each SIGHUP, those that came before included. */
  onHangUp(listener: () => void): void
}

/**
 * The first SIGTERM or SIGINT asks to leave in order, the second to leave now. To be called before anything is waited
 * for: by default each of them, and SIGHUP, ends the process.
 */
export function hearSignals(on: (name: NodeJS.Signals, listener: () => void) => void): Signals {
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
  on('SIGINT', onEach)
  return {
    first: first.promise,
    second: second.promise,
    onHangUp(listener) {
      reload = listener
      if (hungUp) listener()
    },
  }
}
