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
  /** False where each connection of HTTP/1.1 carries one exchange. */
  readonly keepAlive?: boolean
}

/** The connections to one target. Whoever has a lease of the target may begin one attempt. */
export interface TargetConnections {
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
  /** On a connection that has carried nothing yet. */
  readonly fresh: boolean
}
