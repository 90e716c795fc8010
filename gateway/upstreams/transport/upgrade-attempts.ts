import type { Duplex } from 'node:stream'
import type { HeaderEdits } from '../../http/headers.ts'
import type { AttemptFailure, Unsendable } from './attempt-outcome.ts'
import type { AttemptRecord, ClientResponse } from './client-side.ts'
import type { TlsOptions } from './target-address.ts'

/** The WebSocket handshake of one client, checked and authenticated already. */
export interface UpgradeRequest {
  /** Answers the client as long as the connection was not switched over. */
  readonly response: ClientResponse
  /** Gets the bytes that cross after the switch; of another answer those of its body. */
  readonly record: AttemptRecord
  readonly socket: Duplex
  /** Bytes that came behind the handshake; they reach the target only after it switched over. */
  readonly head: Buffer
  readonly path: string
  /** Flat name, value pairs, without `Connection` and `Upgrade`. */
  readonly headers: readonly string[]
  readonly responseEdits: HeaderEdits | null
}

export type UpgradeOutcome =
  /** Switched over, and both connections have ended since. */
  | { readonly kind: 'closed' }
  /** The target answered with something else than 101; it was passed on. */
  | { readonly kind: 'answered'; readonly status: number }
  | { readonly kind: 'client-gone' }
  | AttemptFailure
  | Unsendable

export interface UpgradeTarget {
  readonly url: string
  readonly connectMs: number
  readonly responseMs: number
  readonly idleMs: number
  /** How long a WebSocket may be silent; null for as long as it likes. */
  readonly silenceMs: number | null
  readonly tls: TlsOptions | null
}

export interface UpgradeAttempts {
  /**
   * Never rejects.
   *
   * @param onOpen called when the connection is switched over, with the means to break it
   */
  forward(request: UpgradeRequest, onOpen: (breakOff: () => void) => void): Promise<UpgradeOutcome>
}
