/** An upstream of the routing file, with defaults filled in and durations in milliseconds. */
export interface UpstreamConfig {
  readonly targets: readonly { readonly url: string; readonly weight: number }[]
  readonly balance: 'least-requests' | 'round-robin'
  /** `preserve`, `target`, or a literal value for `Host`. */
  readonly host: string
  readonly timeouts: {
    readonly connectMs: number
    readonly responseMs: number
    readonly idleMs: number
    /** How long a WebSocket may be silent: `idle` where the file has it; null for as long as it likes. */
    readonly silenceMs: number | null
  }
  readonly retries: number
  /** For each target. */
  readonly maxConnections: number
  readonly maxPending: number
  readonly protocol: 'http1' | 'http2'
  /** Without it there are no active checks. */
  readonly health?: HealthConfig | undefined
  /** Without it no target is ejected. */
  readonly ejection?: EjectionConfig | undefined
  readonly tls?: TargetTlsConfig | undefined
}

export interface HealthConfig {
  readonly path: string
  readonly intervalMs: number
  readonly timeoutMs: number
  readonly healthyAfter: number
  readonly unhealthyAfter: number
}

export interface EjectionConfig {
  readonly consecutiveFailures: number
  readonly durationMs: number
  readonly maxPercent: number
}

/** File names are absolute. */
export interface TargetTlsConfig {
  readonly caFile?: string | undefined
  readonly serverName?: string | undefined
  readonly certFile?: string | undefined
  readonly keyFile?: string | undefined
}
