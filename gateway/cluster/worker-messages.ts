import type { Reports } from '../admin/reports.ts'
import type { RoutingInForce } from '../routing/live-routing.ts'
import type { Ports } from '../server/ports.ts'
import type { TokenStoreEvent } from '../telemetry/logging/token-store-events.ts'

export interface Ask {
  readonly ask: keyof Reports
  readonly id: number
}

/** Not a signal: a service manager sends its own to the whole group, and two would mean to leave at once. */
export interface Leave {
  readonly ask: 'leave'
}

/**
 * What a worker says unasked: that it listens, or why it cannot; what it finds out about the token store; or that it
 * needs to know what the others serve.
 */
export interface Says {
  readonly listening?: Ports
  readonly cannotStart?: readonly string[]
  readonly needs?: 'routing'
  readonly tokenStore?: TokenStoreEvent
}

/** The answer to that need; null where there is nobody who knows. */
export interface Routing {
  readonly routing: RoutingInForce | null
}

export interface Told {
  readonly ask: keyof Reports
  /** Null where it could not be made. */
  readonly report: Reports[keyof Reports] | null
  readonly id: number
}
