import { Deadline, type Deadlines, type Timed } from '../../core/deadlines.ts'

/** The one limit of time that a connection is under at a moment. Used for one after the other. */
export class TimeLimit implements Timed {
  readonly deadline = new Deadline()
  readonly onDeadline: () => void
  readonly #deadlines: Deadlines

  /** @param onDeadline called when the limit in force has passed; must not throw */
  constructor(deadlines: Deadlines, onDeadline: () => void) {
    this.#deadlines = deadlines
    this.onDeadline = onDeadline
  }

  /** Puts the limit in force from now on, in place of the one before. */
  start(ms: number): void {
    this.#deadlines.set(this, this.#deadlines.now() + ms)
  }

  stop(): void {
    this.#deadlines.clear(this)
  }

  /** To be called when it is used no more. */
  close(): void {
    this.#deadlines.remove(this)
  }
}
