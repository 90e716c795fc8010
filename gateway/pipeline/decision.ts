import { ANONYMOUS, type AuthDecision, type Identity } from '../auth/authenticator.ts'
import { mandateAllowed, type Origin, originAllowed, preflightAllowed } from '../auth/authorization.ts'
import { identityHeaders } from '../auth/identity-headers.ts'
import type { ErrorCode } from '../core/errors.ts'
import type { Log } from '../core/log.ts'
import type { Exchange } from '../exchange/exchange.ts'
import type { IdentityHeaderNames } from '../http/field-classes.ts'
import type { Route } from '../routing/snapshot.ts'
import type { InlineRefresh } from '../sessions/inline-refresh.ts'
import type { Metrics } from '../telemetry/metrics/metrics.ts'
import type { Identification } from './identification.ts'

export interface DeciderParts {
  readonly identification: Pick<Identification, 'authenticate' | 'recordDecision'>
  /** Null where SESSION_ENDPOINTS is off. */
  readonly inlineRefresh: InlineRefresh | null
  readonly metrics: Pick<Metrics, 'decision'>
  readonly log: Log
  /** Milliseconds, monotonic. */
  readonly now: () => number
}

/** The request's own origin, and whether it asks to switch over. */
export interface RequestOrigin extends Origin {
  readonly upgrade: boolean
}

export type Decision =
  /** May pass, with these header fields (flat name, value pairs; none for an anonymous request). */
  | { readonly kind: 'admitted'; readonly fields: readonly string[]; readonly tokenExpiresAt: number }
  | { readonly kind: 'denied'; readonly code: ErrorCode }

/** A request whose access to its route is to be decided. */
export interface AccessRequest {
  readonly exchange: Exchange
  readonly route: Route
  readonly origin: RequestOrigin
  /** Names of the identity headers. */
  readonly names: IdentityHeaderNames
}

export interface Decider {
  /**
   * Authenticates and authorises one request on its route, and counts the decision. Answers at once where the
   * route requires no token. Never rejects.
   */
  decide(request: AccessRequest): Decision | Promise<Decision>
}

const PASSES_ANONYMOUSLY: Decision = {
  kind: 'admitted',
  fields: [],
  tokenExpiresAt: Number.POSITIVE_INFINITY,
}

export function createDecider(parts: DeciderParts): Decider {
  const { metrics, log, identification } = parts

  function codeOfDenial(
    exchange: Exchange,
    route: Route,
    decision: AuthDecision,
    origin: RequestOrigin,
  ): ErrorCode | null {
    if (decision.kind === 'failed') return decision.error.code
    if (decision.kind === 'refused') return decision.code
    if (!mandateAllowed(route, exchange.record.identity)) return 'mandate_forbidden'
    if (route.auth === 'required' && !originAllowed(exchange.request, origin, route.allowedOrigins))
      return 'origin_forbidden'
    return null
  }

  function identityFieldsOf(
    identity: Identity,
    names: IdentityHeaderNames,
    exchange: Exchange,
  ): readonly string[] | null {
    const fields = identityHeaders(identity, names)
    if (fields === null) {
      log.error(
        { requestId: exchange.record.requestId, tokenId: identity.tokenId },
        'the row of this token holds a value that no header field can carry: empty, with a control character, or with white space at an end',
      )
    }
    return fields
  }

  function countDecision(decision: Decision, anonymous: boolean): Decision {
    const label = decision.kind === 'denied' ? decision.code : anonymous ? 'anonymous' : 'authenticated'
    metrics.decision(label).value++
    return decision
  }

  function decideOn(found: AuthDecision, { exchange, route, origin, names }: AccessRequest): Decision {
    const decision = found.kind === 'refused' && route.auth === 'optional' ? ANONYMOUS : found
    const code = codeOfDenial(exchange, route, decision, origin)
    if (code !== null) return countDecision({ kind: 'denied', code }, false)
    if (decision.kind !== 'authenticated') return countDecision(PASSES_ANONYMOUSLY, true)
    const fields = identityFieldsOf(decision.identity, names, exchange)
    if (fields === null) return countDecision({ kind: 'denied', code: 'token_store_unavailable' }, false)
    return countDecision({ kind: 'admitted', fields, tokenExpiresAt: decision.tokenExpiresAt }, false)
  }

  /** Callbacks between the request and its decision, so that it costs one promise only. */
  function decideByToken(request: AccessRequest): Promise<Decision> {
    const { exchange, route, origin } = request
    const startedAt = parts.now()
    return new Promise((resolve, reject) => {
      function conclude(found: AuthDecision): void {
        try {
          resolve(decideOn(identification.recordDecision(exchange, found, startedAt), request))
        } catch (error) {
          reject(error)
        }
      }
      identification.authenticate(exchange, (found) => {
        if (found.kind === 'refused' && route.refreshes && parts.inlineRefresh !== null)
          parts.inlineRefresh(exchange, origin, found).then(conclude, reject)
        else conclude(found)
      })
    })
  }

  return {
    decide(request) {
      const { exchange, route } = request
      if (route.auth === 'none') return decideOn(ANONYMOUS, request)
      // Before mandates too: a preflight has none.
      if (route.auth === 'required' && preflightAllowed(exchange.request, route.allowedOrigins))
        return countDecision(PASSES_ANONYMOUSLY, true)
      return decideByToken(request)
    },
  }
}
