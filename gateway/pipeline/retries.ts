import { clientIsGone, type Exchange } from '../exchange/exchange.ts'
import type { Target } from '../upstreams/target.ts'
import type { AttemptFailure } from '../upstreams/transport/attempt-outcome.ts'
import type { Upstream } from '../upstreams/upstream.ts'
import type { Outcome } from './attempts.ts'

const IDEMPOTENT = new Set(['GET', 'HEAD', 'OPTIONS', 'PUT', 'DELETE'])

/**
 * How often a request that was not processed gets a further lease. With each it goes out twice at the most, so a target
 * that refuses everything is asked eight times.
 */
const MAX_UNPROCESSED_LEASES = 3

/** What was tried for one request, once that has failed. */
export class Retries {
  /** Targets that are not to be used again where there is another. */
  readonly tried = new Set<Target>()
  readonly #upstream: Upstream
  #left: number
  #unprocessed = 0

  constructor(upstream: Upstream) {
    this.#upstream = upstream
    this.#left = upstream.config.retries
  }

  /** @returns true: the request goes to another target. One that was not processed may go to the same one. */
  take(exchange: Exchange, target: Target, outcome: AttemptFailure): boolean {
    if (!mayRetry(exchange, outcome)) return false
    this.tried.add(target)
    return this.#isAllowed(outcome)
  }

  /**
   * What a target has not processed is no load on it. To send it again needs no budget, and is none of the `retries`, as
   * if it had not been sent before.
   */
  #isAllowed({ unprocessed }: AttemptFailure): boolean {
    if (unprocessed && this.#unprocessed++ < MAX_UNPROCESSED_LEASES) return true
    // A target that has just failed gets the same request not again.
    return this.#left-- > 0 && this.#upstream.hasOther(this.tried) && this.#upstream.retryBudget.withdraw()
  }
}

/**
 * A target that ends connections is not unhealthy. A request that was lost by that goes to the same one once more, on a
 * new connection, or one that it has not processed on a connection that it does not end.
 */
export function maySendAgain(exchange: Exchange, { config }: Upstream, outcome: Outcome): boolean {
  if (outcome.kind !== 'failed' || !mayRetry(exchange, outcome)) return false
  // Never true for an upgrade, whose connection is always new.
  return outcome.unprocessed || (outcome.stale && config.retries > 0)
}

/**
 * True only where nothing can happen twice: a target that was never connected to or has said that it did nothing, or an
 * idempotent method (RFC 9110, section 9.2.2) before a byte of the answer; and never once a byte of the body was taken,
 * unless it was kept for a target that did nothing.
 */
function mayRetry(exchange: Exchange, outcome: AttemptFailure): boolean {
  if (clientIsGone(exchange) || exchange.response.headersSent) return false
  if (outcome.unprocessed) return !outcome.bodyTouched || outcome.bodyKept
  if (outcome.bodyTouched) return false
  return outcome.unconnected || (!outcome.answerBegan && IDEMPOTENT.has(exchange.request.method))
}

/** True where the outcome shows nothing of its target. */
export function showsNothing(outcome: Outcome): boolean {
  return outcome.kind === 'unplaced' || (outcome.kind === 'failed' && outcome.unprocessed)
}
