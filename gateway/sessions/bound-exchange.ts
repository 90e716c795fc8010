import type { Identity } from '../auth/authenticator.ts'
import type { ErrorCode } from '../errors.ts'
import type { Exchange } from '../exchange.ts'
import type { CloseReason, OpenExchange, StreamKind } from './stream-guard.ts'

const CODE_OF_CLOSE = {
  revoked: 'token_revoked',
  expired: 'token_expired',
  fault: 'token_store_unavailable',
  drain: 'draining',
} as const satisfies Record<CloseReason, ErrorCode>

/** An exchange as the guard of open ones sees it: whose it is, and how it is ended. */
export class BoundExchange implements OpenExchange {
  readonly #exchange: Exchange
  readonly identity: Identity | null
  readonly tokenExpiresAt: number

  constructor(exchange: Exchange, tokenExpiresAt: number) {
    this.#exchange = exchange
    this.identity = exchange.identity
    this.tokenExpiresAt = tokenExpiresAt
  }

  kind(): StreamKind {
    if (this.#exchange.upgraded) return 'websocket'
    return this.#exchange.count.eventStream ? 'sse' : 'other'
  }

  close(reason: CloseReason): void {
    const exchange = this.#exchange
    exchange.code = CODE_OF_CLOSE[reason]
    if (exchange.breakOff === null) exchange.res.destroy()
    else exchange.breakOff()
  }
}
