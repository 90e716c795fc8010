import type { Reporter } from '../admin/reports.ts'
import type { RoutingInForce } from '../routing/live-routing.ts'
import type { Ports } from '../server/ports.ts'
import type { TokenStoreEvent } from '../telemetry/logging/token-store-events.ts'
import type { Ask, Leave, Routing, Says, Told } from './worker-messages.ts'

/** The worker's half: answers the primary's questions and leaves when told to. */
export function answerPrimary(reporter: Reporter, onLeave: () => void): void {
  async function tell({ ask, id }: Ask): Promise<void> {
    const report = await reporter[ask]()
    if (process.connected) process.send?.({ ask, report, id } satisfies Told)
  }
  process.on('message', (message: Ask | Leave) => {
    if (message.ask === 'leave') return onLeave()
    if (!Object.hasOwn(reporter, message.ask)) return
    // What cannot be told is as good as no answer, and no reason to end.
    void tell(message).catch(() =>
      process.send?.({ ask: message.ask, report: null, id: message.id } satisfies Told),
    )
  })
}

/** Says that the worker's listeners are open. */
export function tellListening(ports: Ports): void {
  process.send?.({ listening: ports } satisfies Says)
}

/** Says what the worker finds out about the token store: its primary writes it once for all of them. */
export function tellTokenStore(event: TokenStoreEvent): void {
  // What does not reach the primary any more reaches nobody who reads.
  if (process.connected) process.send?.({ tokenStore: event } satisfies Says, () => {})
}

/** Says why the worker cannot start: its primary tells it once for all of them. Resolves when that is on its way. */
export async function tellCannotStart(reasons: readonly string[]): Promise<void> {
  if (!process.connected) return
  await new Promise((resolve) => process.send?.({ cannotStart: reasons } satisfies Says, resolve))
}

/** What the other workers serve; null where none can tell. */
export function askForRouting(): Promise<RoutingInForce | null> {
  return new Promise((resolve) => {
    const hear = (message: Partial<Routing>) => {
      if (message.routing === undefined) return
      process.off('message', hear)
      resolve(message.routing)
    }
    process.on('message', hear)
    process.send?.({ needs: 'routing' } satisfies Says)
  })
}
