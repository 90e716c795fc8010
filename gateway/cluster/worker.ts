import type { ExplainAnswer, ExplainQuestion } from '../admin/explain-question.ts'
import type { Reporter, Reports } from '../admin/reports.ts'
import type { Ports } from '../server/ports.ts'
import type { TokenStoreEvent } from '../telemetry/logging/token-store-events.ts'
import type {
  DrainRequest,
  ExplainRequest,
  InForce,
  InForcePart,
  ReportRequest,
  ReportResponse,
  WorkerMessage,
} from './worker-messages.ts'

export interface PrimaryRequests {
  readonly reporter: Reporter
  readonly explain: (question: ExplainQuestion) => Promise<ExplainAnswer>
  /** The worker is to drain and end. */
  readonly onDrain: () => void
}

/** Answers what the primary requests. */
export function answerPrimary({ reporter, explain, onDrain }: PrimaryRequests): void {
  async function respond(message: ReportRequest | ExplainRequest): Promise<void> {
    const { request, id } = message
    const report = await (message.request === 'explain'
      ? explain(message.question)
      : reporter[message.request]())
    if (process.connected) process.send?.({ request, report, id } satisfies ReportResponse)
  }
  process.on('message', (message: ReportRequest | ExplainRequest | DrainRequest) => {
    if (message.request === 'drain') return onDrain()
    if (message.request !== 'explain' && !Object.hasOwn(reporter, message.request)) return
    // A response that fails is sent as null: it must not end the worker.
    void respond(message).catch(() =>
      process.send?.({ request: message.request, report: null, id: message.id } satisfies ReportResponse),
    )
  })
}

/** Tells the primary that the worker's listeners are open. */
export function reportListening(ports: Ports): void {
  process.send?.({ listening: ports } satisfies WorkerMessage)
}

/** Sends the primary what the worker finds out about the token store; the primary logs it once for all workers. */
export function reportTokenStoreEvent(event: TokenStoreEvent): void {
  // Without a primary the event would not be logged.
  if (process.connected) process.send?.({ tokenStore: event } satisfies WorkerMessage, () => {})
}

/** Tells the primary why the worker cannot start; the primary prints it once. Resolves when the message is sent. */
export async function reportCannotStart(reasons: readonly string[]): Promise<void> {
  if (!process.connected) return
  await new Promise((resolve) => process.send?.({ cannotStart: reasons } satisfies WorkerMessage, resolve))
}

/** Asks the primary for what the other workers have in force. @returns null where no other worker has any */
export function requestInForce<Part extends InForcePart>(part: Part): Promise<Reports[Part] | null> {
  return new Promise((resolve) => {
    const onMessage = (message: Partial<InForce>) => {
      if (message.needed !== part) return
      process.off('message', onMessage)
      resolve((message.inForce ?? null) as Reports[Part] | null)
    }
    process.on('message', onMessage)
    process.send?.({ needs: part } satisfies WorkerMessage)
  })
}
