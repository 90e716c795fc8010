import type { Scheduler } from '../core/scheduler.ts'

/** The tokens whose revocation was notified a short time ago. */
export interface RecentRevocations {
  add(tokenId: string): void
  has(tokenId: string): boolean
  stop(): void
}

/** @param keepMs how long an id is kept at least; it is kept twice as long at most */
export function createRecentRevocations(scheduler: Scheduler, keepMs: number): RecentRevocations {
  let newer = new Set<string>()
  let older = new Set<string>()
  let cancel = () => {}

  function scheduleAging(): void {
    cancel = scheduler.after(keepMs, () => {
      older = newer
      newer = new Set()
      scheduleAging()
    })
  }

  scheduleAging()
  return {
    add: (tokenId) => void newer.add(tokenId),
    has: (tokenId) => (newer.size > 0 && newer.has(tokenId)) || (older.size > 0 && older.has(tokenId)),
    stop: () => cancel(),
  }
}
