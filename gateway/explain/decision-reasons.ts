import { mandateAllowed } from '../auth/authorization.ts'
import type { ErrorCode } from '../core/errors.ts'
import { escapeInvisible } from '../core/message-text.ts'
import type { Exchange } from '../exchange/exchange.ts'
import type { Decision, RequestOrigin } from '../pipeline/decision.ts'
import type { Route } from '../routing/snapshot.ts'
import type { Observed } from './observed-decider.ts'

export interface DecidedRequest {
  readonly decision: Decision
  readonly observed: Observed
  readonly exchange: Exchange
  readonly route: Route
  readonly origin: RequestOrigin
}

/** Why a request may pass, or may not, step by step. */
export function reasonsOf(decided: DecidedRequest): string[] {
  const { decision, observed, route } = decided
  if (decision.kind === 'denied')
    return [...describePassed(decided), `${decision.code}: ${describeDenial(decided, decision.code)}`]
  if (route.auth === 'none') return ['anonymous: the route requires no token']
  const { auth } = observed
  if (auth === null) return ['anonymous: a CORS preflight from one of "allowedOrigins", which has no cookie']
  if (auth.kind === 'refused') {
    return [`${auth.code}: ${auth.reason}`, 'anonymous: the route treats a bad token as none']
  }
  return [...describePassed(decided), 'authenticated']
}

/** The hurdles that were taken before the one that decided. */
function describePassed({ decision, observed, route, exchange }: DecidedRequest): string[] {
  const { auth, refreshed } = observed
  if (auth?.kind !== 'authenticated') return []
  const mandate =
    route.mandates === null || !mandateAllowed(route, auth.identity)
      ? []
      : [`the mandate ${escapeInvisible(auth.identity.mandateId ?? '')} is among the route's`]
  const { origin } = exchange.request.headers
  const allowed =
    origin === undefined || route.auth !== 'required' || decision.kind === 'denied'
      ? []
      : [`a request from ${escapeInvisible(origin)} may do this`]
  return [
    refreshed
      ? 'no good access token, but a good refresh token: new ones are made, and the answer carries their cookies'
      : 'signature and claims are good, the row is active and agrees with the claims',
    ...mandate,
    ...allowed,
  ]
}

function describeDenial({ observed, exchange, route, origin }: DecidedRequest, code: ErrorCode): string {
  const { auth } = observed
  if (auth?.kind === 'failed') return faultText(auth.error)
  if (code === 'mandate_forbidden') {
    const mandate = auth?.kind === 'authenticated' ? auth.identity.mandateId : null
    const who = mandate === null ? 'a request without a mandate' : `the mandate ${escapeInvisible(mandate)}`
    return `${who} is not among the route's (${[...(route.mandates ?? [])].join(', ')})`
  }
  if (code === 'origin_forbidden') {
    const allowed = route.allowedOrigins === null ? 'there are none' : [...route.allowedOrigins].join(', ')
    const what = origin.upgrade ? 'a WebSocket' : 'a request that may change something'
    return `${what} from ${escapeInvisible(String(exchange.request.headers.origin))}, which is neither its own origin, ${origin.scheme}://${origin.host}, nor in "allowedOrigins" (${allowed})`
  }
  if (code === 'token_store_unavailable') return 'the row holds a value that no header field can carry'
  return auth?.kind === 'refused' ? auth.reason : 'it is refused'
}

/** A fault with what caused it. The messages of faults hold no secret. */
function faultText(error: Error): string {
  const causes: string[] = []
  for (let each: unknown = error; each instanceof Error && causes.length < 5; each = each.cause) {
    if (each.message !== '' && !causes.includes(each.message)) causes.push(each.message)
  }
  return `${causes.map(escapeInvisible).join(': ')}. A fault, not a refusal: no request is admitted, and no session ends`
}
