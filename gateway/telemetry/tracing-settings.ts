/** The settings of tracing, by the environment variables of the OpenTelemetry specification. */
export interface TracingSettings {
  readonly protocol: 'http/protobuf' | 'http/json'
  readonly serviceName: string
  /** PEM files for the connection to the collector; null where there is none. */
  readonly certificateFiles: Readonly<Record<'ca' | 'cert' | 'key', string | null>>
  readonly sampler: SamplerName
  /** The share of traces that the samplers by ratio record, 0 to 1. */
  readonly samplerRatio: number
  readonly batches: {
    /** How long spans wait to be exported together. */
    readonly scheduledDelayMillis: number
    readonly exportTimeoutMillis: number
    /** How many spans may wait for a slow collector. */
    readonly maxQueueSize: number
    /** At most `maxQueueSize`. */
    readonly maxExportBatchSize: number
  }
}

export type SamplerName = (typeof SAMPLERS)[number]

export const SAMPLERS = [
  'always_on',
  'always_off',
  'traceidratio',
  'parentbased_always_on',
  'parentbased_always_off',
  'parentbased_traceidratio',
] as const
