import type { Scheduler } from '../../core/scheduler.ts'

export interface DeadlineOwner {
  /** The limit has passed. Must not throw. */
  onDeadline(): void
}

/** A limit that something is under at a time. One for each connection, used for one limit after the other. */
export class Deadline {
  readonly owner: DeadlineOwner
  /** The limit in force; null where there is none. These four are the limit's to change. */
  limit: TimeLimit | null = null
  at = 0
  earlier: Deadline | null = null
  later: Deadline | null = null

  constructor(owner: DeadlineOwner) {
    this.owner = owner
  }

  stop(): void {
    this.limit?.remove(this)
  }
}

/** `setTimeout` takes no longer ones. */
const LONGEST_TIMER_MS = 2 ** 31 - 1

/**
 * All deadlines of one length. They pass in the order in which they were started, so that one timer is enough for all,
 * and a request costs no timer of its own: a deadline that is met leaves the timer as it is.
 */
export class TimeLimit {
  readonly #ms: number
  readonly #scheduler: Scheduler
  readonly #onTimer = () => this.#expire()
  #first: Deadline | null = null
  #last: Deadline | null = null
  #armed = false

  constructor(ms: number, scheduler: Scheduler) {
    this.#ms = ms
    this.#scheduler = scheduler
  }

  /** Puts `deadline` under this limit from now on, and under no other. */
  start(deadline: Deadline): void {
    deadline.stop()
    deadline.limit = this
    deadline.at = this.#scheduler.now() + this.#ms
    deadline.earlier = this.#last
    if (this.#last === null) this.#first = deadline
    else this.#last.later = deadline
    this.#last = deadline
    if (!this.#armed) this.#arm(this.#ms)
  }

  /** Only for `Deadline.stop`. */
  remove(deadline: Deadline): void {
    const { earlier, later } = deadline
    if (earlier === null) this.#first = later
    else earlier.later = later
    if (later === null) this.#last = earlier
    else later.earlier = earlier
    deadline.earlier = null
    deadline.later = null
    deadline.limit = null
  }

  #arm(ms: number): void {
    this.#armed = true
    this.#scheduler.after(Math.min(Math.max(1, Math.ceil(ms)), LONGEST_TIMER_MS), this.#onTimer)
  }

  #expire(): void {
    this.#armed = false
    const now = this.#scheduler.now()
    while (this.#first !== null && this.#first.at <= now) {
      const { owner } = this.#first
      this.#first.stop()
      owner.onDeadline()
    }
    if (this.#first !== null && !this.#armed) this.#arm(this.#first.at - now)
  }
}

export interface TimeLimits {
  /** The limit of this length, the same one each time. */
  of(ms: number): TimeLimit
}

export function createTimeLimits(scheduler: Scheduler): TimeLimits {
  const limits = new Map<number, TimeLimit>()
  return {
    of(ms) {
      let limit = limits.get(ms)
      if (limit === undefined) {
        limit = new TimeLimit(ms, scheduler)
        limits.set(ms, limit)
      }
      return limit
    },
  }
}
