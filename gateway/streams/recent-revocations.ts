import type { Scheduler } from '../core/scheduler.ts'

/** The tokens whose revocation was notified a short while ago. */
export interface RecentRevocations {
  add(tokenId: string): void
  has(tokenId: string): boolean
  stop(): void
}

/** @param keepMs how long an id is kept at least; twice as long at most */
export function createRecentRevocations(scheduler: Scheduler, keepMs: number): RecentRevocations {
  let ids = new Set<string>()
  let older = new Set<string>()
  let cancel = () => {}

  function age(): void {
    cancel = scheduler.after(keepMs, () => {
      older = ids
      ids = new Set()
      age()
    })
  }

  age()
  return {
    add: (tokenId) => void ids.add(tokenId),
    has: (tokenId) => (ids.size > 0 && ids.has(tokenId)) || (older.size > 0 && older.has(tokenId)),
    stop: () => cancel(),
  }
}
