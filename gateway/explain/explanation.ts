import { type ErrorCode, statusOf } from '../core/errors.ts'
import type { Exchange } from '../exchange/exchange.ts'
import { retryFields } from '../exchange/problem.ts'
import { type CookieNames, readCookies } from '../http/cookies.ts'
import { upstreamHeaders } from '../http/headers.ts'
import { isNavigation, redirectLocation } from '../http/login-redirect.ts'
import type { OwnPaths } from '../http/own-paths.ts'
import { announcedLength } from '../http/request-framing.ts'
import { otherReadings, parseHost, parseRequestTarget } from '../http/request-target.ts'
import { isWebSocketHandshake } from '../http/websocket.ts'
import { admit, type RequestTarget } from '../pipeline/admission.ts'
import { upstreamHost, upstreamPath } from '../pipeline/upstream-request.ts'
import type { Route, Snapshot } from '../routing/snapshot.ts'
import { MAX_HEADER_FIELDS } from '../server/http1/http1-server.ts'
import { maskPath } from '../telemetry/logging/masking.ts'
import { isUp } from '../upstreams/target.ts'
import type { Upstream } from '../upstreams/upstream.ts'
import { reasonsOf } from './decision-reasons.ts'
import { describeHeaders, describeRow, describeToken } from './descriptions.ts'
import { type ExplainedRequest, exchangeOf, refusedByListener } from './explained-request.ts'
import { createObservedDecider, type ObservedDeciderParts } from './observed-decider.ts'
import { describeRoute, otherRoutes } from './route-reasons.ts'

export interface Explanation {
  /** True where the request would be sent to a target. */
  readonly forwards: boolean
  /** Of the gateway's own answer; null where the target's would be given. */
  readonly status: number | null
  readonly code: ErrorCode | null
  readonly steps: readonly Step[]
}

export interface Step {
  readonly title: string
  readonly details: readonly string[]
}

export interface ExplanationParts extends ObservedDeciderParts {
  readonly cookies: CookieNames
  readonly ownPaths: OwnPaths
  readonly snapshot: () => Snapshot
  /** The upstream's targets, in lines. */
  readonly describeUpstream: (upstream: Upstream) => string[]
}

/** Says what the gateway would do with a request, by the parts that would do it. Nothing is sent or changed. */
export async function explain(request: ExplainedRequest, parts: ExplanationParts): Promise<Explanation> {
  const { settings } = parts
  // One for the whole explanation, as for an exchange.
  const snapshot = parts.snapshot()
  const exchange = exchangeOf(request)
  const { scheme, host, method } = request
  const steps: Step[] = [
    { title: 'Request', details: [`${method} ${scheme}://${host}${maskPath(request.target)}`] },
  ]
  const unread = refusedByListener(request, {
    maxHeaderBytes: settings.maxHeaderBytes,
    maxHeaderFields: MAX_HEADER_FIELDS,
  })
  if (unread !== null)
    return refusal([...steps, { title: 'Listener', details: [unread.reason] }], unread.code, [])
  const admission = admit(exchange.request, snapshot, scheme, parts.ownPaths)
  if (admission.kind === 'own') {
    const path = `${settings.gatewayPath}${admission.path}`
    const text = `the gateway's own endpoint ${path} answers; nothing is forwarded`
    steps.push({ title: 'Answer', details: [text] })
    return { forwards: false, status: null, code: null, steps }
  }
  if (admission.kind === 'refused') {
    const { code, reason, allow } = admission
    steps.push(
      { title: 'Route', details: [reason, ...readingsOf(request)] },
      ...stepOfOthers(nearRoutes(request, snapshot)),
    )
    return refusal(steps, code, allow === undefined ? [] : [`Allow: ${allow.join(', ')}`])
  }
  const { route, target } = admission
  const others = otherRoutes(route, { host: target.hostname, path: target.path, method }, snapshot)
  const details = [describeRoute(route), ...readingsOf(request)]
  steps.push({ title: 'Route', details }, ...stepOfOthers(others))
  return explainRouted({ exchange, route, target, snapshot }, steps, parts)
}

interface Routed {
  readonly exchange: Exchange
  readonly route: Route
  readonly target: RequestTarget
  readonly snapshot: Snapshot
}

async function explainRouted(
  routed: Routed,
  before: readonly Step[],
  parts: ExplanationParts,
): Promise<Explanation> {
  const { exchange, route, target } = routed
  const decided = await decide(routed, parts)
  const steps = [...before, ...decided.steps]
  const { decision } = decided
  if (decision.kind === 'denied') {
    const { loginRedirect } = route
    if (statusOf(decision.code) !== 401 || loginRedirect === null || !isNavigation(exchange.request))
      return refusal(steps, decision.code, [])
    const location = maskPath(redirectLocation(loginRedirect, target.raw))
    const details = [`303 to ${location}: a browser's navigation is sent to the login instead of 401`]
    steps.push({ title: 'Answer', details })
    return { forwards: false, status: 303, code: decision.code, steps }
  }
  if (announcedLength(exchange.request) > route.maxBodyBytes)
    return refusal(steps, 'body_too_large', [`the route allows ${route.maxBodyBytes} bytes`])
  const { upstream } = route
  steps.push({ title: 'Target', details: parts.describeUpstream(upstream) })
  if (!upstream.targets.some(isUp)) return refusal(steps, 'upstream_unavailable', ['no target is up'])
  steps.push({ title: 'Sends', details: sentBy(routed, decision.fields) })
  return { forwards: true, status: null, code: null, steps }
}

async function decide({ exchange, route, target, snapshot }: Routed, parts: ExplanationParts) {
  const { cookies } = parts
  const { decider, observed } = createObservedDecider(parts)
  const { scheme } = exchange.record.peer
  const origin = { scheme, host: target.host, upgrade: isWebSocketHandshake(exchange.request) }
  const decision = await decider.decide({ exchange, route, origin, names: snapshot.identity })
  const steps: Step[] = []
  if (route.auth !== 'none') {
    const { access } = readCookies(exchange.request.rawHeaders, cookies)
    steps.push({ title: 'Token', details: describeToken(access, cookies.access) })
    for (const row of observed.rows) steps.push({ title: 'Row', details: describeRow(row) })
  }
  const details = reasonsOf({ decision, observed, exchange, route, origin })
  return { decision, steps: [...steps, { title: 'Decision', details }] }
}

/** The paths that backends may read in place of the one that routes are matched with. */
function readingsOf({ target, scheme, host }: ExplainedRequest): string[] {
  const parsed = parseRequestTarget(target, { scheme, host })
  if (parsed.kind === 'bad' || !parsed.ambiguous) return []
  return [
    `matched as ${maskPath(parsed.path)}`,
    ...otherReadings(parsed.path).map(({ path }) => `some backends read ${maskPath(path)}`),
  ]
}

/** The routes that a request without one came close to. */
function nearRoutes({ host, target, method }: ExplainedRequest, snapshot: Snapshot): string[] {
  const parsedHost = parseHost(host)
  const parsed = parseRequestTarget(target, { scheme: 'http', host })
  if (parsedHost.kind === 'bad' || parsed.kind === 'bad') return []
  return otherRoutes(null, { host: parsedHost.hostname, path: parsed.path, method }, snapshot)
}

function stepOfOthers(others: readonly string[]): Step[] {
  return others.length === 0 ? [] : [{ title: 'Not', details: others }]
}

function refusal(steps: readonly Step[], code: ErrorCode, more: readonly string[]): Explanation {
  const status = statusOf(code)
  const [retryAfter, seconds] = retryFields(status)
  const retry = retryAfter === undefined ? [] : [`${retryAfter}: ${seconds}`]
  const answer = { title: 'Answer', details: [`${status} ${code}`, ...more, ...retry] }
  return { forwards: false, status, code, steps: [...steps, answer] }
}

/** The head of the request as the first target that is up gets it. */
function sentBy({ exchange, route, target, snapshot }: Routed, fields: readonly string[]): string[] {
  const { request, record } = exchange
  const { peer, requestId, trace } = record
  const { targets } = route.upstream
  const handshake = isWebSocketHandshake(request)
  const headers = upstreamHeaders(
    {
      rawHeaders: request.rawHeaders,
      host: target.host,
      upstreamHost: upstreamHost(route, target, (targets.find(isUp) ?? targets[0]!).host),
      peer,
      requestId,
      identity: fields,
      trace: request.headers.traceparent === undefined ? trace : null,
    },
    route.requestRules,
  )
  if (handshake) headers.push('Connection', 'Upgrade', 'Upgrade', 'websocket')
  const path = maskPath(upstreamPath(route, target))
  const identity = new Set(Object.values(snapshot.identity).map((name) => name.toLowerCase()))
  return [`${request.method} ${path}`, ...describeHeaders(headers, identity)]
}
