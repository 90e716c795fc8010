import type { HttpOutcome } from './attempt-outcome.ts'
import type { AttemptClient } from './client-side.ts'
import type { AttemptRequest } from './http-attempt.ts'
import type { TlsOptions } from './target-address.ts'

/** How connections to one target are made. Times in milliseconds. */
export interface TargetOptions {
  /** `http://host:port`, `https://host:port` or `unix:/path`. */
  readonly url: string
  readonly connectMs: number
  readonly responseMs: number
  readonly idleMs: number
  readonly http2: boolean
  readonly tls: TlsOptions | null
  /** False where each connection carries one exchange. */
  readonly keepAlive?: boolean
  /** Called when there are more places than before, though no exchange has ended. */
  readonly onMorePlaces?: () => void
}

/** The connections to one target. Whoever has a lease of the target may begin one attempt. */
export interface TargetConnections {
  /** How many of them there may be. `Infinity` until it is set. */
  maxConnections: number
  /** Exchanges that they can carry at once, so far as is known: each takes a connection, or a stream of one. */
  readonly places: number
  /** @param onOutcome called once; an attempt does not reject */
  begin(
    client: AttemptClient,
    request: AttemptRequest,
    onOutcome: (outcome: HttpOutcome) => void,
    options?: BeginOptions,
  ): void
  /** Lets exchanges finish, then closes the connections. */
  close(): Promise<void>
}

export interface BeginOptions {
  /** On a connection that has carried nothing yet, or over HTTP/2 on the one that was opened last. */
  readonly fresh: boolean
}
