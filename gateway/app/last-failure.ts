import type { LastFailure } from '../admin/status.ts'
import type { Scheduler } from '../core/scheduler.ts'
import type { StoreFault } from '../core/store-fault.ts'
import type { FailureKind, SendEvent } from '../telemetry/logging/token-store-events.ts'

/** Failures that a request is answered with 503 for. */
const OF_REQUESTS: ReadonlySet<FailureKind> = new Set(['lookups', 'overload', 'verifications'])

/** Passes the token store's events on, and keeps why the last request could not be decided. */
export function rememberLastFailure(
  send: SendEvent,
  { now }: Pick<Scheduler, 'now'>,
): { readonly send: SendEvent; readonly last: () => LastFailure | null } {
  let last: { readonly fault: StoreFault; readonly at: number } | null = null
  return {
    send(event) {
      if (event.kind === 'failed' && OF_REQUESTS.has(event.what)) last = { fault: event.fault, at: now() }
      send(event)
    },
    last() {
      if (last === null) return null
      const { code, cause } = last.fault
      return { code, cause, agoS: (now() - last.at) / 1000 }
    },
  }
}
