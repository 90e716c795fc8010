import type { AuthDecision } from '../auth/authenticator.ts'
import type { UpstreamTrace } from '../http/headers.ts'
import type { Exchange } from './exchange.ts'

/** Records exchanges as spans. There is none where spans are not exported. */
export interface Tracing {
  /** Begins the span of an exchange. @returns null where it is not sampled */
  begin(exchange: Exchange): ExchangeSpan | null
  /** Sends what is left, within bounds. Never rejects. */
  close(): Promise<void>
}

/** The spans of one exchange. Times are milliseconds of the process's monotonic clock. */
export interface ExchangeSpan {
  /** What the try under way sends upstream: its span is the parent of what the upstream does. */
  readonly upstream: UpstreamTrace
  /** The token was looked up, or refused before that. */
  lookedUp(decision: AuthDecision, startedAt: number): void
  /** A try on a target begins. @param path path and query as they go upstream */
  tries(target: string, path: string): void
  /** The try is over. */
  tried(outcome: TryOutcome): void
  /** @param status what the client got; 499 where nothing */
  end(status: number): void
}

/** The outcome of one try, as far as its span tells it. */
export type TryOutcome =
  | { readonly kind: 'answered'; readonly status: number }
  | { readonly kind: 'failed'; readonly code: string }
  | { readonly kind: 'closed' | 'client-gone' | 'body-too-large' }

/** What the environment says of tracing (the names of the OpenTelemetry specification). */
export interface TracingSettings {
  readonly protocol: 'http/protobuf' | 'http/json'
  readonly serviceName: string
  /** PEM files for the connection to the collector; null where there is none. */
  readonly certificateFiles: Readonly<Record<'ca' | 'cert' | 'key', string | null>>
  readonly sampler: SamplerName
  /** Share of traces for the samplers that go by it, 0 to 1. */
  readonly samplerRatio: number
  readonly batches: {
    /** How long spans wait to be sent together. */
    readonly scheduledDelayMillis: number
    readonly exportTimeoutMillis: number
    /** Spans that may wait for a slow collector. */
    readonly maxQueueSize: number
    /** At most `maxQueueSize`. */
    readonly maxExportBatchSize: number
  }
}

export const SAMPLERS = [
  'always_on',
  'always_off',
  'traceidratio',
  'parentbased_always_on',
  'parentbased_always_off',
  'parentbased_traceidratio',
] as const

export type SamplerName = (typeof SAMPLERS)[number]
