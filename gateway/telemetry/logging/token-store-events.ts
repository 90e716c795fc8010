import type { Scheduler } from '../../core/scheduler.ts'
import type { StoreFault } from '../../core/store-fault.ts'

/** What can fail for want of the token store, or of keys. */
export type FailureKind = 'lookups' | 'rechecks' | 'sessions' | 'notices' | 'overload' | 'verifications'

/** What one process finds out about the token store. Plain values: workers send them to their primary. */
export type TokenStoreEvent =
  | { readonly kind: 'available' }
  /** It has been away for so long already when it is known why. */
  | { readonly kind: 'unavailable'; readonly fault: StoreFault; readonly forMs: number }
  | { readonly kind: 'warnings'; readonly warnings: readonly string[] }
  /** Some more failed. */
  | {
      readonly kind: 'failed'
      readonly what: FailureKind
      readonly count: number
      readonly fault: StoreFault
    }
  /** Notices of revocations are heard, as from a new connection on. */
  | { readonly kind: 'listening' }

export type SendEvent = (event: TokenStoreEvent) => void

/** Where a process says what it finds out; each failure costs it no more than a count. */
export interface TokenStoreEvents {
  available(): void
  unavailable(fault: StoreFault, forMs: number): void
  warn(warnings: readonly string[]): void
  failed(what: FailureKind, error: unknown): void
  listening(): void
  /** Sends what is counted. */
  close(): void
}

export interface TokenStoreEventsParts {
  readonly send: SendEvent
  readonly describe: (what: FailureKind, error: unknown) => StoreFault
  readonly scheduler: Scheduler
}

const SEND_EVERY_MS = 500

export function createTokenStoreEvents({
  send,
  describe,
  scheduler,
}: TokenStoreEventsParts): TokenStoreEvents {
  const counted = new Map<FailureKind, { count: number; error: unknown }>()
  let cancel: (() => void) | null = null

  /** Before anything else is said: what failed in an outage belongs to it. */
  function sendCounted(): void {
    cancel?.()
    cancel = null
    for (const [what, { count, error }] of counted)
      send({ kind: 'failed', what, count, fault: describe(what, error) })
    counted.clear()
  }

  function sendAfterCounted(event: TokenStoreEvent): void {
    sendCounted()
    send(event)
  }

  return {
    available: () => sendAfterCounted({ kind: 'available' }),
    unavailable: (fault, forMs) => sendAfterCounted({ kind: 'unavailable', fault, forMs }),
    warn: (warnings) => sendAfterCounted({ kind: 'warnings', warnings }),
    listening: () => sendAfterCounted({ kind: 'listening' }),
    failed(what, error) {
      const known = counted.get(what)
      if (known === undefined) counted.set(what, { count: 1, error })
      else {
        known.count++
        known.error = error
      }
      cancel ??= scheduler.after(SEND_EVERY_MS, sendCounted)
    },
    close: sendCounted,
  }
}
