import type { Scheduler } from '../core/scheduler.ts'
import type { DatabaseError } from './database-error.ts'

/** Callers that wait for something that one of them can have, in their order. */
export interface Waiting<T> {
  readonly length: number
  /** @param lateBy why it was in vain, once the time is over @throws DatabaseError */
  add(deadlineMs: number, lateBy: () => DatabaseError): Promise<T>
  /** Gives it to whoever waits longest. @returns false where nobody waits */
  give(thing: T): boolean
  refuseAll(error: DatabaseError): void
}

interface Waiter<T> {
  resolve(thing: T): void
  reject(error: DatabaseError): void
}

export function createWaiting<T>(scheduler: Scheduler): Waiting<T> {
  const waiters: Waiter<T>[] = []
  return {
    get length() {
      return waiters.length
    },
    add(deadlineMs, lateBy) {
      return new Promise((resolve, reject) => {
        const waiter: Waiter<T> = {
          resolve(thing) {
            cancel()
            resolve(thing)
          },
          reject(error) {
            cancel()
            reject(error)
          },
        }
        const cancel = scheduler.after(deadlineMs, () => {
          waiters.splice(waiters.indexOf(waiter), 1)
          reject(lateBy())
        })
        waiters.push(waiter)
      })
    },
    give(thing) {
      const next = waiters.shift()
      next?.resolve(thing)
      return next !== undefined
    },
    refuseAll(error) {
      for (const waiter of waiters.splice(0)) waiter.reject(error)
    },
  }
}
