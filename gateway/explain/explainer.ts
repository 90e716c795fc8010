import { createVerifier, openTokenStore } from '../app/token-parts.ts'
import { createFetchJson } from '../auth/jwt/fetch-json.ts'
import type { KeySource } from '../auth/jwt/key-ring.ts'
import { createKeyRing } from '../auth/jwt/keys.ts'
import { type ErrorCode, statusOf } from '../core/errors.ts'
import { SILENT_LOG } from '../core/log.ts'
import { systemScheduler } from '../core/scheduler.ts'
import type { Exchange } from '../exchange/exchange.ts'
import { retryFields } from '../exchange/problem.ts'
import { readCookies } from '../http/cookies.ts'
import { upstreamHeaders } from '../http/headers.ts'
import { isNavigation, redirectLocation } from '../http/login-redirect.ts'
import { createOwnPaths } from '../http/own-paths.ts'
import { announcedLength } from '../http/request-framing.ts'
import { otherReadings, parseHost, parseRequestTarget } from '../http/request-target.ts'
import { isWebSocketHandshake } from '../http/websocket.ts'
import { createSystemNames, type Names } from '../names/names.ts'
import { admit, type RequestTarget } from '../pipeline/admission.ts'
import { upstreamHost, upstreamPath } from '../pipeline/upstream-request.ts'
import type { RoutingConfig } from '../routing/file/file-schema.ts'
import { createSnapshot, type Route, type Snapshot } from '../routing/snapshot.ts'
import { MAX_HEADER_FIELDS } from '../server/http1/http1-server.ts'
import type { Settings } from '../settings/values.ts'
import { maskPath } from '../telemetry/logging/masking.ts'
import { createMetrics } from '../telemetry/metrics/metrics.ts'
import { createTransport } from '../upstreams/transport/transport.ts'
import { createUpstream, type Upstream } from '../upstreams/upstream.ts'
import { reasonsOf } from './decision-reasons.ts'
import { describeHeaders, describeRow, describeTargets, describeToken } from './descriptions.ts'
import { type ExplainedRequest, exchangeOf, refusedByListener } from './explained-request.ts'
import { createObservedDecider } from './observed-decider.ts'
import { describeRoute, otherRoutes } from './route-reasons.ts'

export type { ExplainedRequest } from './explained-request.ts'

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

export interface Explainer {
  explain(request: ExplainedRequest): Promise<Explanation>
  close(): Promise<void>
}

export interface ExplainerParts {
  readonly settings: Settings
  readonly databaseUrl: string
  readonly keySource: KeySource
  readonly config: RoutingConfig
}

/** Says what the gateway would do with a request, by the parts that would do it. Nothing is sent or changed. */
export async function createExplainer({
  settings,
  databaseUrl,
  keySource,
  config,
}: ExplainerParts): Promise<Explainer> {
  const scheduler = systemScheduler
  const ownPaths = createOwnPaths(settings.gatewayPath, settings.sessionEndpoints)
  const cookies = { access: settings.accessCookie, refresh: settings.refreshCookie }
  const names = createSystemNames({ scheduler, log: SILENT_LOG })
  const upstreams = unwatchedUpstreams(config, names)
  const metrics = createMetrics({ version: '', node: process.version }, Date.now)
  const snapshot = createSnapshot(config, { upstreams, cookies, metrics, hsts: null })
  const keys = await createKeyRing(keySource, {
    scheduler,
    fetchJson: createFetchJson(names),
    algorithms: settings.jwtAlgorithms,
    log: SILENT_LOG,
  })
  const verifier = createVerifier(settings, keys, 10)
  const { database, table } = openTokenStore(settings, {
    url: databaseUrl,
    connections: 1,
    scheduler,
    written: false,
  })

  async function decide(exchange: Exchange, route: Route, target: RequestTarget) {
    const parts = { settings, cookies, verifier, table, metrics, scheduler }
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

  async function explain(request: ExplainedRequest): Promise<Explanation> {
    const exchange = exchangeOf(request)
    const { scheme, host, method } = request
    const steps: Step[] = [
      { title: 'Request', details: [`${method} ${scheme}://${host}${maskPath(request.target)}`] },
    ]
    const unread = refusedByListener(request, {
      maxHeaderBytes: settings.maxHeaderBytes,
      maxHeaderFields: MAX_HEADER_FIELDS,
    })
    if (unread !== null) {
      return refusal([...steps, { title: 'Listener', details: [unread.reason] }], unread.code, [])
    }
    const admission = admit(exchange.request, snapshot, scheme, ownPaths)
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

    const decided = await decide(exchange, route, target)
    steps.push(...decided.steps)
    const { decision } = decided
    if (decision.kind === 'denied') {
      const { loginRedirect } = route
      if (statusOf(decision.code) !== 401 || loginRedirect === null || !isNavigation(exchange.request))
        return refusal(steps, decision.code, [])
      const location = maskPath(redirectLocation(loginRedirect, target.raw))
      const details = [`303 to ${location}: a browser's navigation is sent to the login instead of 401`]
      return {
        forwards: false,
        status: 303,
        code: decision.code,
        steps: [...steps, { title: 'Answer', details }],
      }
    }
    if (announcedLength(exchange.request) > route.maxBodyBytes)
      return refusal(steps, 'body_too_large', [`the route allows ${route.maxBodyBytes} bytes`])
    const upstream = config.upstreams.get(route.upstream.name)!
    steps.push({ title: 'Target', details: describeTargets(route.upstream.name, upstream) })
    steps.push({
      title: 'Sends',
      details: sentBy(exchange, { route, target, fields: decision.fields }, snapshot),
    })
    return { forwards: true, status: null, code: null, steps }
  }

  return {
    explain,
    async close() {
      verifier.close()
      await database.close()
      const targets = [...upstreams.values()].flatMap((upstream) => upstream.targets)
      await Promise.all(targets.map((target) => target.close()))
      names.close()
    },
  }
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

/** Targets that are not checked and never connected to. */
function unwatchedUpstreams(config: RoutingConfig, { findAddresses }: Names): Map<string, Upstream> {
  const metrics = createMetrics({ version: '', node: process.version }, Date.now)
  const scheduler = systemScheduler
  const transport = createTransport({ findAddresses, scheduler })
  const upstreams = new Map<string, Upstream>()
  for (const [name, { health: _health, ejection: _ejection, ...upstream }] of config.upstreams) {
    const parts = { random: Math.random, scheduler, transport, metrics, onTargetChange: () => {} }
    upstreams.set(name, createUpstream(name, upstream as never, parts))
  }
  return upstreams
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

interface Admitted {
  readonly route: Route
  readonly target: RequestTarget
  readonly fields: readonly string[]
}

/** The head of the request as the first target gets it. */
function sentBy({ request, record }: Exchange, admitted: Admitted, snapshot: Snapshot): string[] {
  const { route, target, fields } = admitted
  const { peer, requestId, trace } = record
  const handshake = isWebSocketHandshake(request)
  const headers = upstreamHeaders(
    {
      rawHeaders: request.rawHeaders,
      host: target.host,
      upstreamHost: upstreamHost(route, target, route.upstream.targets[0]!.host),
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
