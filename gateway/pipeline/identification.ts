import type { AuthDecision, Authenticator } from '../auth/authenticator.ts'
import type { Exchange } from '../exchange/exchange.ts'
import { readCookie } from '../http/cookies.ts'
import type { Metrics } from '../telemetry/metrics/metrics.ts'

export interface IdentificationParts {
  readonly authenticator: Authenticator
  readonly accessCookie: string
  readonly metrics: Pick<Metrics, 'decision'>
  /** Milliseconds, monotonic. */
  readonly now: () => number
}

/** Who a request comes from, by its access cookie. */
export interface Identification {
  authenticate(exchange: Exchange, onFound: (found: AuthDecision) => void): void
  /** Keeps the decision in the exchange's record and its span. @returns the decision */
  recordDecision(exchange: Exchange, decision: AuthDecision, startedAt: number): AuthDecision
  /** Authentication alone, for the gateway's own endpoints; counts the decision. Never rejects. */
  identify(exchange: Exchange): Promise<AuthDecision>
}

export function createIdentification(parts: IdentificationParts): Identification {
  function authenticate(exchange: Exchange, onFound: (found: AuthDecision) => void): void {
    const { rawHeaders, holdings } = exchange.request
    parts.authenticator.authenticate(readCookie(rawHeaders, parts.accessCookie), holdings, onFound)
  }

  function recordDecision(exchange: Exchange, decision: AuthDecision, startedAt: number): AuthDecision {
    exchange.record.lookupMs = parts.now() - startedAt
    exchange.span?.tokenDecided(decision, startedAt)
    if (decision.kind === 'authenticated') exchange.record.identity = decision.identity
    return decision
  }

  return {
    authenticate,
    recordDecision,
    async identify(exchange) {
      const startedAt = parts.now()
      const found = await new Promise<AuthDecision>((resolve) => authenticate(exchange, resolve))
      const decision = recordDecision(exchange, found, startedAt)
      parts.metrics.decision(labelOf(decision)).value++
      return decision
    },
  }
}

function labelOf(decision: AuthDecision) {
  if (decision.kind === 'refused') return decision.code
  return decision.kind === 'failed' ? decision.error.code : decision.kind
}
