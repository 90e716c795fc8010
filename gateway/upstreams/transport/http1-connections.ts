import type { HttpOutcome } from './attempt-outcome.ts'
import type { AttemptClient } from './client-side.ts'
import type { Connector } from './connector.ts'
import type { AttemptRequest } from './http-attempt.ts'
import { type ConnectionOwner, type ConnectionParts, Http1Connection } from './http1-connection.ts'
import type { BeginOptions, TargetConnections, TargetOptions } from './target-connections.ts'
import type { Transport } from './transport.ts'

interface Http1Parts {
  readonly transport: Transport
  readonly connector: Connector
  /** Age from which on a connection gets no further exchange; `Infinity` for never. */
  readonly maxAgeMs: number
}

/**
 * The connections to one target over HTTP/1.1. An exchange gets the idle connection that was used last, so that those
 * which are not needed reach their time limit. There is no bound and no queue, because `upstream.ts` counts the leases.
 */
export class Http1Connections implements TargetConnections, ConnectionOwner {
  maxConnections = Number.POSITIVE_INFINITY
  readonly #parts: ConnectionParts
  readonly #maxAgeMs: number
  readonly #idle: Http1Connection[] = []
  #open = 0
  #closing: (() => void) | null = null

  constructor(options: TargetOptions, { transport, connector, maxAgeMs }: Http1Parts) {
    this.#maxAgeMs = maxAgeMs
    this.#parts = {
      transport,
      connector,
      limits: options,
      keepAlive: options.keepAlive ?? true,
    }
  }

  get places(): number {
    return this.maxConnections
  }

  begin(
    client: AttemptClient,
    request: AttemptRequest,
    onOutcome: (outcome: HttpOutcome) => void,
    options?: BeginOptions,
  ): void {
    const connection = (options?.fresh ? null : this.#take()) ?? this.#connect()
    connection.begin(client, request, onOutcome)
  }

  close(): Promise<void> {
    return new Promise((resolve) => {
      this.#closing = resolve
      for (const connection of [...this.#idle]) connection.close()
      if (this.#open === 0) resolve()
    })
  }

  onFree(connection: Http1Connection): boolean {
    if (!this.#parts.keepAlive || this.#closing !== null || this.#isOld(connection)) return false
    this.#idle.push(connection)
    return true
  }

  onClosed(connection: Http1Connection): void {
    this.#open--
    const at = this.#idle.indexOf(connection)
    if (at !== -1) this.#idle.splice(at, 1)
    if (this.#open === 0) this.#closing?.()
  }

  #take(): Http1Connection | null {
    for (;;) {
      const connection = this.#idle.pop()
      if (connection === undefined) return null
      if (!this.#isOld(connection)) return connection
      connection.close()
    }
  }

  #connect(): Http1Connection {
    this.#open++
    return new Http1Connection(this.#parts, this)
  }

  #isOld({ since }: Http1Connection): boolean {
    return this.#maxAgeMs !== Number.POSITIVE_INFINITY && this.#parts.transport.now() - since > this.#maxAgeMs
  }
}
