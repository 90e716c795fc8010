import { Deadlines } from '../../core/deadlines.ts'
import type { Scheduler } from '../../core/scheduler.ts'
import { createDateFormatter } from '../../http1/date.ts'
import { createHeadWriter } from '../../http1/head-writer.ts'
import type { Wire } from '../../http1/wire.ts'
import type { Gateway } from '../../pipeline/gateway.ts'
import type { ConnectionRegistry, OpenConnection } from '../connection-registry.ts'
import type { ConnectionHandler } from '../connection-stages.ts'
import { Http1Connection } from './http1-connection.ts'
import { ParserPool } from './parser-pool.ts'
import { ResponseHeads } from './response-heads.ts'

export interface Http1Options {
  readonly wire: Wire
  readonly scheduler: Scheduler
  /** Milliseconds since 1970. */
  readonly wallClock: () => number
  readonly requestId: () => string
  /** `Strict-Transport-Security` over TLS; null where it is not set. */
  readonly hsts: string | null
  readonly maxHeaderBytes: number
  /** Times in milliseconds. */
  readonly headersTimeoutMs: number
  readonly requestTimeoutMs: number
  readonly keepAliveTimeoutMs: number
}

/** Header fields past which a request is refused. */
export const MAX_HEADER_FIELDS = 2000

/**
 * HTTP/1.1 and HTTP/1.0 on connections that are given to it. What arrives becomes a call of the gateway's `handle`;
 * what is no request is answered here.
 */
export function createHttp1Server(
  gateway: Gateway,
  registry: ConnectionRegistry,
  options: Http1Options,
): { readonly serve: ConnectionHandler } {
  const { maxHeaderBytes, keepAliveTimeoutMs, requestTimeoutMs } = options
  const open = new Set<OpenConnection>()
  const keepAlive = keepAliveTimeoutMs > 0 ? `timeout=${Math.floor(keepAliveTimeoutMs / 1000)}` : ''
  const parts = {
    gateway,
    open,
    requestId: options.requestId,
    hsts: options.hsts,
    parsers: new ParserPool(options.wire, { maxHeadBytes: maxHeaderBytes, maxFields: MAX_HEADER_FIELDS }),
    heads: new ResponseHeads(createHeadWriter(createDateFormatter(options.wallClock), keepAlive)),
    deadlines: new Deadlines(options.scheduler),
    limits: {
      maxAheadBytes: maxHeaderBytes,
      headersTimeoutMs: Math.min(options.headersTimeoutMs, requestTimeoutMs),
      requestTimeoutMs,
      keepAliveTimeoutMs,
    },
  }
  // One entry stands for all of them: one a connection would cost each a closure.
  registry.register({
    closeIdle() {
      for (const connection of open) connection.closeIdle()
    },
    close() {
      for (const connection of open) connection.close()
    },
  })
  return { serve: (socket) => void new Http1Connection(socket, parts) }
}
