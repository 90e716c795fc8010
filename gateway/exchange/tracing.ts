import type { ExchangeRecord } from './record.ts'
import type { ExchangeSpan } from './span.ts'

/** Records exchanges as spans. There is none where spans are not exported. */
export interface Tracing {
  /** Begins the span of an exchange. @returns null where it is not sampled */
  begin(record: ExchangeRecord): ExchangeSpan | null
  /** Sends what is left, within bounds. Never rejects. */
  close(): Promise<void>
}
