import type { Scheduler } from '../../core/scheduler.ts'
import type { StoreFault } from '../../core/store-fault.ts'

/** What can fail because the token store, or the keys, are not available. */
export type FailureKind = 'lookups' | 'rechecks' | 'sessions' | 'notices' | 'overload' | 'verifications'

/** What a process finds out about the token store. The values are plain, since workers send them to their primary. */
export type TokenStoreEvent =
  | { readonly kind: 'available' }
  /** `forMs` is how long the store has been unavailable until the fault was known. */
  | { readonly kind: 'unavailable'; readonly fault: StoreFault; readonly forMs: number }
  | { readonly kind: 'warnings'; readonly warnings: readonly string[] }
  /** Failures since the last event of this kind. */
  | {
      readonly kind: 'failed'
      readonly what: FailureKind
      readonly count: number
      readonly fault: StoreFault
    }
  /** The database has a newer timeline: another server was promoted. */
  | { readonly kind: 'timeline'; readonly number: number }
  /** Servers that go on as primaries though another one was promoted; empty where none does any more. */
  | { readonly kind: 'oldPrimaries'; readonly hosts: readonly string[] }
  /** A new connection receives notifications of revocations. */
  | { readonly kind: 'listening' }

export type SendEvent = (event: TokenStoreEvent) => void

/** Sends what a process finds out; failures are counted and sent together. */
export interface TokenStoreEvents {
  available(): void
  unavailable(fault: StoreFault, forMs: number): void
  warn(warnings: readonly string[]): void
  failed(what: FailureKind, error: unknown): void
  timeline(number: number): void
  oldPrimaries(hosts: readonly string[]): void
  listening(): void
  /** Sends the failures that are counted. */
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

  /** Called before each other event, so that the failures of an outage are counted in it. */
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
    timeline: (number) => sendAfterCounted({ kind: 'timeline', number }),
    oldPrimaries: (hosts) => sendAfterCounted({ kind: 'oldPrimaries', hosts }),
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
