import { quoteTable } from '../auth/token-store/token-columns.ts'
import { describeFault, describeKeyFault } from '../auth/token-store/token-store-faults.ts'
import type { Scheduler } from '../core/scheduler.ts'
import { sessionTimeoutMs } from '../sessions/session-timeout.ts'
import type { Settings } from '../settings/values.ts'
import {
  createTokenStoreEvents,
  type SendEvent,
  type TokenStoreEvents,
} from '../telemetry/logging/token-store-events.ts'

/** Sends the token store's events of this process, each with a description for operators. */
export function createStoreEvents(
  settings: Settings,
  send: SendEvent,
  scheduler: Scheduler,
): TokenStoreEvents {
  const table = quoteTable(settings.tokenTable)
  const timeoutMs = settings.lookupTimeoutMs
  return createTokenStoreEvents({
    send,
    describe(what, error) {
      if (what === 'verifications') return describeKeyFault(error)
      return describeFault(error, {
        table,
        timeoutMs: what === 'sessions' ? sessionTimeoutMs(timeoutMs) : timeoutMs,
      })
    },
    scheduler,
  })
}
