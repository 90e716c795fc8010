import type { Deadlines } from '../../core/deadlines.ts'
import type { Gateway } from '../../pipeline/gateway.ts'
import type { OpenConnection } from '../connection-registry.ts'
import type { ParserPool } from './parser-pool.ts'
import type { ResponseHeads } from './response-heads.ts'

export interface ConnectionLimits {
  /** Bytes that are kept of what is not looked at yet. */
  readonly maxAheadBytes: number
  /** Times in milliseconds. For the head of a request, and until a new connection's first byte. */
  readonly headersTimeoutMs: number
  /** From a request's first byte to its last. */
  readonly requestTimeoutMs: number
  /** From a response to the first byte of the next request; 0 is for ever. */
  readonly keepAliveTimeoutMs: number
}

/** What all connections of a listener share. */
export interface ConnectionParts {
  readonly gateway: Gateway
  readonly limits: ConnectionLimits
  readonly parsers: ParserPool
  readonly heads: ResponseHeads
  readonly deadlines: Deadlines
  /** Those that are open and were not handed over. */
  readonly open: Set<OpenConnection>
  readonly requestId: () => string
  /** `Strict-Transport-Security` over TLS; null where it is not set. */
  readonly hsts: string | null
}
