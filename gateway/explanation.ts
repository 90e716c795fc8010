import type { IncomingMessage } from 'node:http'
import { admit } from './admission.ts'
import { type AuthDecision, createAuthenticator } from './auth/authenticator.ts'
import { readCookies } from './auth/cookies.ts'
import { createDatabase } from './auth/database.ts'
import { fetchJson } from './auth/fetch-json.ts'
import { identityHeaders } from './auth/identity-headers.ts'
import { createKeyRing, type KeySource } from './auth/keys.ts'
import { createNegativeCache } from './auth/negative-cache.ts'
import { createTokenLookup } from './auth/token-lookup.ts'
import { createTokenTable, type TokenRow } from './auth/token-table.ts'
import { createTokenVerifier } from './auth/token-verifier.ts'
import { mandateAllowed } from './authorization.ts'
import { type ErrorCode, statusOf } from './errors.ts'
import { createMetrics } from './ops/metrics.ts'
import { upstreamHeaders } from './proxy/headers.ts'
import { stripRoutePrefix } from './proxy/request-target.ts'
import { createSnapshot, type Route, type Snapshot } from './routing/snapshot.ts'
import type { UpstreamsConfig } from './routing/upstreams-schema.ts'
import { systemScheduler } from './scheduler.ts'
import type { Settings } from './settings.ts'
import { createUpstream, type Upstream } from './upstreams/upstream.ts'

export interface ExplainedRequest {
  readonly scheme: 'http' | 'https'
  readonly host: string
  /** Path and query, as they would be sent. */
  readonly target: string
  readonly method: string
  /** A `Cookie` field, or null. */
  readonly cookie: string | null
}

export interface Explanation {
  readonly forwards: boolean
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
  readonly config: UpstreamsConfig
}

/** Says what the gateway would do with a request, by the parts that would do it, without sending anything. */
export async function createExplainer({
  settings,
  databaseUrl,
  keySource,
  config,
}: ExplainerParts): Promise<Explainer> {
  const scheduler = systemScheduler
  const cookies = { access: settings.accessCookie, refresh: settings.refreshCookie }
  const metrics = createMetrics({ version: '', node: process.version }, Date.now)
  const upstreams = new Map<string, Upstream>()
  for (const [name, { health: _health, ejection: _ejection, ...upstream }] of config.upstreams) {
    upstreams.set(
      name,
      createUpstream(name, upstream as never, {
        random: Math.random,
        scheduler,
        metrics,
        onTargetChange: () => {},
      }),
    )
  }
  const snapshot = createSnapshot(config, { upstreams, cookies, metrics, hsts: null })
  const keys = await createKeyRing(keySource, {
    scheduler,
    fetchJson,
    algorithms: settings.jwtAlgorithms,
    log: { info() {}, error() {} },
  })
  const verifier = createTokenVerifier({
    keys,
    issuer: settings.jwtIssuer,
    audience: settings.jwtAudience,
    clockToleranceS: settings.jwtClockToleranceS,
    wallClock: Date.now,
    memoMax: 10,
  })
  const database = createDatabase({
    url: databaseUrl,
    connections: 1,
    prepare: settings.databasePrepare,
    scheduler,
  })
  const table = createTokenTable({ database, table: settings.tokenTable, columns: settings.tokenColumns })
  const lookup = createTokenLookup({
    findMany: table.findMany,
    connections: 1,
    timeoutMs: settings.lookupTimeoutMs,
    queueMax: 1,
    scheduler,
    onQuery: () => {},
  })

  /** Authenticates, and keeps the row that was seen on the way. */
  async function authenticate(
    cookie: ReturnType<typeof readCookies>['access'],
  ): Promise<{ decision: AuthDecision; row: TokenRow | null }> {
    let row: TokenRow | null = null
    const authenticator = createAuthenticator({
      verifier,
      lookup: {
        find: (id, tell) =>
          lookup.find(id, (found) => {
            if (found.kind === 'found') row = found.row
            tell(found)
          }),
      },
      refusals: createNegativeCache({ ttlUs: 0, max: 1, nowUs: () => 0 }),
      onLookup: () => {},
      onCacheHit: () => {},
      now: scheduler.now,
    })
    const decision = await new Promise<AuthDecision>((resolve) => authenticator.authenticate(cookie, resolve))
    return { decision, row }
  }

  async function explain(request: ExplainedRequest): Promise<Explanation> {
    const rawHeaders = ['Host', request.host, ...(request.cookie === null ? [] : ['Cookie', request.cookie])]
    const req = {
      method: request.method,
      url: request.target,
      httpVersion: '1.1',
      rawHeaders,
      headers: {},
    } as unknown as IncomingMessage
    const steps: Step[] = [
      {
        title: 'Request',
        details: [`${request.method} ${request.scheme}://${request.host}${request.target}`],
      },
    ]
    const stop = (code: ErrorCode, reason: string): Explanation => ({
      forwards: false,
      steps: [...steps, { title: 'Answer', details: [`${statusOf(code)} ${code}: ${reason}`] }],
    })

    const admission = admit(req, snapshot, request.scheme, settings.gatewayPath)
    if (admission.kind === 'refused') return stop(admission.code, admission.reason)
    if (admission.kind === 'own') {
      steps.push({
        title: 'Answer',
        details: [
          `the gateway's own endpoint ${settings.gatewayPath}${admission.path}; nothing is forwarded`,
        ],
      })
      return { forwards: false, steps }
    }
    const { route, target } = admission
    steps.push({ title: 'Route', details: describeRoute(route, snapshot, target) })

    let identity: readonly string[] = []
    if (route.auth === 'none')
      steps.push({ title: 'Decision', details: ['anonymous: the route asks for no token'] })
    else {
      const { decision, row } = await authenticate(readCookies(rawHeaders, cookies).access)
      if (row !== null) steps.push({ title: 'Row', details: describeRow(row) })
      const outcome = judge(route, decision, snapshot)
      steps.push({ title: 'Decision', details: [outcome.text] })
      if (outcome.code !== null) return stop(outcome.code, outcome.text)
      identity = outcome.identity
    }
    const path = route.stripPrefix ? stripRoutePrefix(target.raw, route.path) : target.raw
    steps.push({ title: 'Target', details: describeTargets(route) })
    const headers = upstreamHeaders(
      {
        rawHeaders,
        host: target.host,
        upstreamHost: route.upstream.config.host === 'preserve' ? target.host : route.upstream.config.host,
        peer: { address: '127.0.0.1', trusted: false, scheme: request.scheme },
        requestId: '(made for each request)',
        identity,
        trace: { traceparent: '(begun for each request without one)', begun: true },
      },
      route.requestRules,
    )
    steps.push({ title: 'Sends', details: [`${request.method} ${path}`, ...describeHeaders(headers)] })
    return { forwards: true, steps }
  }

  return {
    explain,
    async close() {
      verifier.close()
      await database.close()
      await Promise.all(
        [...upstreams.values()].flatMap(({ targets }) => targets.map((target) => target.close())),
      )
    },
  }
}

function describeRoute(
  route: Route,
  snapshot: Snapshot,
  target: { hostname: string; path: string },
): string[] {
  const others = snapshot.routes
    .candidates({ host: target.hostname, path: target.path })
    .filter((each) => each !== route)
  const line = (each: Route) =>
    `${each.label}${each.exact ? ' (exact)' : ''}${each.methods === null ? '' : ` [${each.methods.join(' ')}]`} -> ${each.upstream.name}, auth ${each.auth}`
  return [
    line(route),
    `the most specific of ${others.length + 1} that match (host, then path, then methods)`,
    ...others.map((each) => `instead of ${line(each)}`),
  ]
}

function describeRow(row: TokenRow): string[] {
  return [
    `id ${row.id}, status ${row.status}${row.expired ? ', expired' : ''}`,
    `user ${row.userId}, mandate ${row.mandateId ?? '(none)'}, session ${row.sessionId}`,
    `expires ${row.expiresAt === null ? 'with the token' : new Date(Math.min(row.expiresAt, 8.64e15)).toISOString()}`,
  ]
}

function judge(
  route: Route,
  decision: AuthDecision,
  snapshot: Snapshot,
): { code: ErrorCode | null; text: string; identity: readonly string[] } {
  const without = (code: ErrorCode | null, text: string) => ({ code, text, identity: [] })
  if (decision.kind === 'failed') return without(decision.error.code, decision.error.message)
  if (decision.kind === 'refused' && route.auth === 'required') {
    return without(decision.code, `${decision.code}: ${decision.reason}`)
  }
  if (decision.kind !== 'authenticated') {
    if (!mandateAllowed(route, null))
      return without('mandate_forbidden', 'anonymous, and the route is for certain mandates')
    const why =
      decision.kind === 'refused'
        ? ` (${decision.code}: ${decision.reason}; the route's auth is optional)`
        : ''
    return without(null, `anonymous${why}`)
  }
  if (!mandateAllowed(route, decision.identity)) {
    const mandate = decision.identity.mandateId ?? '(none)'
    return without('mandate_forbidden', `the mandate ${mandate} is not among the route's`)
  }
  const fields = identityHeaders(decision.identity, snapshot.identity)
  if (fields === null)
    return without('token_store_unavailable', 'the row holds a value that no header field can carry')
  return {
    code: null,
    text: 'authenticated: signature and claims are good, the row is active and agrees',
    identity: fields,
  }
}

function describeTargets({ upstream }: Route): string[] {
  const { config } = upstream
  return [
    `${upstream.name}, ${config.balance} among`,
    ...config.targets.map(({ url, weight }) => `${url}${weight === 1 ? '' : ` (weight ${weight})`}`),
  ]
}

/** The cookies that pass may be secrets of the backend's. */
function describeHeaders(flat: readonly string[]): string[] {
  const out: string[] = []
  for (let i = 0; i < flat.length; i += 2) {
    const name = flat[i]!
    const secret = /^(cookie|authorization)$/i.test(name)
    out.push(`${name}: ${secret ? flat[i + 1]!.replace(/=[^;]*/g, '=***') : flat[i + 1]}`)
  }
  return out
}
