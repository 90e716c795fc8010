import type { ExplainAnswer, ExplainQuestion } from '../admin/explain-question.ts'
import type { Reports } from '../admin/reports.ts'
import type { Ports } from '../server/ports.ts'
import type { TokenStoreEvent } from '../telemetry/logging/token-store-events.ts'

/** The primary wants a part of a worker's report. */
export interface ReportRequest {
  readonly request: keyof Reports
  readonly id: number
}

/** Asks a worker what it would do with a request. */
export interface ExplainRequest {
  readonly request: 'explain'
  readonly question: ExplainQuestion
  readonly id: number
}

/**
 * Asks a worker to drain and end. It is no signal: a service manager sends its own signal to the whole process group, and
 * a second one means an end at once.
 */
export interface DrainRequest {
  readonly request: 'drain'
}

/** What a worker sends on its own: one of these members. */
export interface WorkerMessage {
  /** Its listeners are open. */
  readonly listening?: Ports
  /** Why it cannot start. */
  readonly cannotStart?: readonly string[]
  /** It needs what the other workers have in force. */
  readonly needs?: InForcePart
  readonly tokenStore?: TokenStoreEvent
}

/** What a worker can take over from the others where the files on disk are no longer usable. */
export type InForcePart = 'routing' | 'errorPages'

/** The primary's response to `needs`; null where no other worker has any. */
export interface InForce {
  readonly needed: InForcePart
  readonly inForce: Reports[InForcePart] | null
}

/** The worker's response to a `ReportRequest` or an `ExplainRequest` of the same id. */
export interface ReportResponse {
  readonly request: keyof Reports | 'explain'
  /** Null where it could not be made. */
  readonly report: Reports[keyof Reports] | ExplainAnswer | null
  readonly id: number
}
