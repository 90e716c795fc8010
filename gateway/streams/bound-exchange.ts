import type { Identity } from '../auth/authenticator.ts'
import type { ErrorCode } from '../core/errors.ts'
import type { CloseReason, StreamKind } from '../core/stream-kinds.ts'
import type { Exchange } from '../exchange/exchange.ts'
import type { OpenExchange } from './stream-guard.ts'

const CODE_OF_CLOSE = {
  revoked: 'token_revoked',
  expired: 'token_expired',
  fault: 'token_store_unavailable',
  drain: 'draining',
} as const satisfies Record<CloseReason, ErrorCode>

/** Refuses an exchange under way. @returns false where its answer has begun */
export type Interrupt = (exchange: Exchange, code: ErrorCode) => boolean

/** An exchange as the stream guard sees it: whom it belongs to, and how it is closed. */
export class BoundExchange implements OpenExchange {
  readonly #exchange: Exchange
  readonly identity: Identity | null
  readonly tokenExpiresAt: number
  readonly #interrupt: Interrupt

  constructor(exchange: Exchange, tokenExpiresAt: number, interrupt: Interrupt) {
    this.#exchange = exchange
    this.#interrupt = interrupt
    this.identity = exchange.record.identity
    this.tokenExpiresAt = tokenExpiresAt
  }

  kind(): StreamKind {
    const { upgraded, eventStream } = this.#exchange.record
    if (upgraded) return 'websocket'
    return eventStream ? 'sse' : 'other'
  }

  awaitedUpstream(): string | null {
    const { request, response, record } = this.#exchange
    if (record.upgraded || response.headersSent || !request.complete) return null
    return record.route?.upstream.name ?? null
  }

  close(reason: CloseReason): void {
    const exchange = this.#exchange
    const code = CODE_OF_CLOSE[reason]
    // An exchange that waits for a target gets its answer here. A handshake cannot be interrupted in that wait.
    if (exchange.watcher !== null && this.#interrupt(exchange, code)) return
    exchange.record.code = code
    if (exchange.breakOff === null) exchange.response.abort()
    else exchange.breakOff()
  }
}
