import type { Scheduler } from '../core/scheduler.ts'
import { type DialOptions, probeServer } from './socket.ts'

/** How long one probe may take, and the pause after one without an answer, in milliseconds. */
const PROBE_TIMEOUT_MS = 1000
const PAUSE_AFTER_SILENCE_MS = 200

/**
 * The pause after an answer, in which the server can close the connections that were ended at this side. A server that
 * was frozen does so as soon as it goes on.
 */
const PAUSE_AFTER_ANSWER_MS = 1200

/** Probes one host after the other. */
export interface HostProbe {
  /** True from the start of a probe to the end of the pause after it. */
  readonly isPending: boolean
  /** Not to be called while a probe is pending. */
  start(options: DialOptions): void
  stop(): void
}

export interface HostProbeParts {
  readonly scheduler: Scheduler
  readonly onAnswer: () => void
  readonly onSilence: () => void
  /** @param answered whether the server had answered before the pause */
  readonly onPauseOver: (answered: boolean) => void
}

/**
 * Finds out whether a server answers that may still hold all the connections it is allowed. Either it was frozen, and
 * closes them when it goes on; or another server has its address now, and the old connections will never be closed.
 */
export function createHostProbe({ scheduler, onAnswer, onSilence, onPauseOver }: HostProbeParts): HostProbe {
  let stop: (() => void) | null = null
  return {
    get isPending() {
      return stop !== null
    },
    start(options) {
      const { answered, abort } = probeServer(options)
      const cancelTimeout = scheduler.after(PROBE_TIMEOUT_MS, abort)
      stop = () => {
        cancelTimeout()
        abort()
      }
      void answered.then((hasAnswered) => {
        cancelTimeout()
        if (!hasAnswered) onSilence()
        stop = scheduler.after(hasAnswered ? PAUSE_AFTER_ANSWER_MS : PAUSE_AFTER_SILENCE_MS, () => {
          stop = null
          onPauseOver(hasAnswered)
        })
        if (hasAnswered) onAnswer()
      })
    },
    stop: () => stop?.(),
  }
}
