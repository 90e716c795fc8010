import type { Scheduler } from '../core/scheduler.ts'

/** Tokens whose revocation was notified, until they were compared with the open exchanges. */
export interface RevocationNotices {
  add(tokenId: string): void
  stop(): void
}

/** At most one part in twenty of the time is spent on comparing. */
const TIME_SHARE = 20

/** @param compare called soon after a notice, with all that have come by then */
export function createRevocationNotices(
  scheduler: Scheduler,
  compare: (tokenIds: ReadonlySet<string>) => void,
): RevocationNotices {
  let pending = new Set<string>()
  let cancel: (() => void) | null = null
  let nextAt = 0

  function handle(): void {
    cancel = null
    const tokenIds = pending
    pending = new Set()
    const began = scheduler.now()
    compare(tokenIds)
    const ended = scheduler.now()
    nextAt = ended + TIME_SHARE * (ended - began)
  }

  return {
    add(tokenId) {
      pending.add(tokenId)
      cancel ??= scheduler.after(Math.max(1, nextAt - scheduler.now()), handle)
    },
    stop: () => cancel?.(),
  }
}
