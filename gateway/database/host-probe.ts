import type { Scheduler } from '../core/scheduler.ts'
import { type DialOptions, knock } from './socket.ts'

/** How often a server whose connections are all silent is asked whether it is there, and for how long each time. */
const KNOCK_PAUSE_MS = 200
const KNOCK_MS = 1000

/** What a server that answers is given to close what was ended. One that was frozen does so as soon as it wakes. */
const GRACE_MS = 1200

export interface Knocking {
  /** True while it asks, and in the pause behind it. */
  readonly underWay: boolean
  /** Asks once; not to be called while that, or the pause behind it, is under way. */
  start(options: DialOptions): void
  stop(): void
}

export interface KnockingParts {
  readonly scheduler: Scheduler
  /** Nobody answered. */
  readonly onSilence: () => void
  /** Somebody answered, just now. */
  readonly onHeard: () => void
  /** The pause is over. @param isThere whether somebody had answered before it */
  readonly onOver: (isThere: boolean) => void
}

/**
 * Finds out whether a server that may hold all the connections that it should is there: it may be frozen, and closes them
 * when it wakes; or another one answers at its address now, and they will never be closed.
 */
export function createKnocking({ scheduler, onSilence, onHeard, onOver }: KnockingParts): Knocking {
  let stop: (() => void) | null = null
  return {
    get underWay() {
      return stop !== null
    },
    start(options) {
      const { answered, abort } = knock(options)
      const cancel = scheduler.after(KNOCK_MS, abort)
      stop = () => {
        cancel()
        abort()
      }
      void answered.then((isThere) => {
        cancel()
        if (!isThere) onSilence()
        stop = scheduler.after(isThere ? GRACE_MS : KNOCK_PAUSE_MS, () => {
          stop = null
          onOver(isThere)
        })
        if (isThere) onHeard()
      })
    },
    stop: () => stop?.(),
  }
}
