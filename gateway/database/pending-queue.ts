import type { Scheduler } from '../core/scheduler.ts'
import type { DatabaseError } from './database-error.ts'

/** The callers that wait for a connection, first come, first served. */
export interface PendingQueue<T> {
  readonly length: number
  /**
   * @param deadlineMs how long to wait
   * @param timeoutError makes the error of a caller whose time is over
   * @throws DatabaseError
   */
  wait(deadlineMs: number, timeoutError: () => DatabaseError): Promise<T>
  /** Gives `connection` to the caller that has waited longest. @returns false where no caller waits */
  resolveNext(connection: T): boolean
  rejectAll(error: DatabaseError): void
}

interface PendingCaller<T> {
  resolve(connection: T): void
  reject(error: DatabaseError): void
}

export function createPendingQueue<T>(scheduler: Scheduler): PendingQueue<T> {
  const callers: PendingCaller<T>[] = []
  return {
    get length() {
      return callers.length
    },
    wait(deadlineMs, timeoutError) {
      return new Promise((resolve, reject) => {
        const caller: PendingCaller<T> = {
          resolve(connection) {
            cancel()
            resolve(connection)
          },
          reject(error) {
            cancel()
            reject(error)
          },
        }
        const cancel = scheduler.after(deadlineMs, () => {
          callers.splice(callers.indexOf(caller), 1)
          reject(timeoutError())
        })
        callers.push(caller)
      })
    },
    resolveNext(connection) {
      const next = callers.shift()
      next?.resolve(connection)
      return next !== undefined
    },
    rejectAll(error) {
      for (const caller of callers.splice(0)) caller.reject(error)
    },
  }
}
