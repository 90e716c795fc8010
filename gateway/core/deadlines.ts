import type { Scheduler } from './scheduler.ts'

/** Something whose time can run out. One for each connection, used for one limit after the other. */
export interface Timed {
  /** Only for `Deadlines`. */
  readonly deadline: Deadline
  /** Its time is over. Must not throw. */
  onDeadline(): void
}

/** When the time of its owner is over, and where that stands in the queue. Only `Deadlines` changes it. */
export class Deadline {
  /** `Infinity` where nothing is awaited. */
  at = Number.POSITIVE_INFINITY
  /** What it is queued by: never later than `at`. */
  queuedAt = 0
  /** Its place in the queue; -1 where it is in none. */
  index = -1
}

/** `setTimeout` takes no longer ones. */
const LONGEST_TIMER_MS = 2 ** 31 - 1

/**
 * Many deadlines on one timer. One that is put off or dropped stays where it is queued until its old time has come,
 * so that what is met costs nothing but a comparison: requests that follow each other on a connection touch neither
 * the queue nor a timer.
 */
export class Deadlines {
  readonly #scheduler: Scheduler
  /** A binary heap by `queuedAt`. */
  readonly #queue: Timed[] = []
  readonly #onTimer = () => this.#expire()
  #cancelTimer = () => {}
  #timerAt = Number.POSITIVE_INFINITY

  constructor(scheduler: Scheduler) {
    this.#scheduler = scheduler
  }

  /** Milliseconds of the scheduler's clock. */
  now(): number {
    return this.#scheduler.now()
  }

  /** @param at by the clock of `now` */
  set(timed: Timed, at: number): void {
    const { deadline } = timed
    deadline.at = at
    if (deadline.index === -1) {
      deadline.queuedAt = at
      this.#queue.push(timed)
      this.#moveUp(this.#queue.length - 1)
    } else if (at < deadline.queuedAt) {
      deadline.queuedAt = at
      this.#moveUp(deadline.index)
    }
    if (at < this.#timerAt) this.#arm(at)
  }

  clear({ deadline }: Timed): void {
    deadline.at = Number.POSITIVE_INFINITY
  }

  /** Lets go of `timed`, which is used no more. */
  remove({ deadline }: Timed): void {
    const { index } = deadline
    deadline.at = Number.POSITIVE_INFINITY
    if (index === -1) return
    deadline.index = -1
    const last = this.#queue.pop()!
    if (last.deadline === deadline) return
    this.#place(last, index)
    this.#moveUp(index)
    this.#moveDown(last.deadline.index)
  }

  #arm(at: number): void {
    this.#cancelTimer()
    this.#timerAt = at
    const ms = Math.min(Math.max(0, at - this.#scheduler.now()), LONGEST_TIMER_MS)
    this.#cancelTimer = this.#scheduler.after(Math.ceil(ms), this.#onTimer)
  }

  #expire(): void {
    this.#timerAt = Number.POSITIVE_INFINITY
    const now = this.#scheduler.now()
    for (let first = this.#queue[0]; first !== undefined; first = this.#queue[0]) {
      const { deadline } = first
      if (deadline.queuedAt > now) break
      const isDue = deadline.at <= now
      if (isDue || deadline.at === Number.POSITIVE_INFINITY) this.remove(first)
      else {
        deadline.queuedAt = deadline.at
        this.#moveDown(0)
      }
      if (isDue) first.onDeadline()
    }
    const next = this.#queue[0]
    if (next !== undefined && next.deadline.queuedAt < this.#timerAt) this.#arm(next.deadline.queuedAt)
  }

  #moveUp(from: number): void {
    const queue = this.#queue
    const timed = queue[from]!
    let at = from
    while (at > 0) {
      const above = (at - 1) >> 1
      if (queue[above]!.deadline.queuedAt <= timed.deadline.queuedAt) break
      this.#place(queue[above]!, at)
      at = above
    }
    this.#place(timed, at)
  }

  #moveDown(from: number): void {
    const queue = this.#queue
    const timed = queue[from]!
    let at = from
    for (;;) {
      let below = 2 * at + 1
      if (below >= queue.length) break
      const other = below + 1
      if (other < queue.length && queue[other]!.deadline.queuedAt < queue[below]!.deadline.queuedAt)
        below = other
      if (timed.deadline.queuedAt <= queue[below]!.deadline.queuedAt) break
      this.#place(queue[below]!, at)
      at = below
    }
    this.#place(timed, at)
  }

  #place(timed: Timed, index: number): void {
    this.#queue[index] = timed
    timed.deadline.index = index
  }
}
