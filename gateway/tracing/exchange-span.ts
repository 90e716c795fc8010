import {
  type Attributes,
  type Context,
  ROOT_CONTEXT,
  type Span,
  SpanKind,
  SpanStatusCode,
  type Tracer,
  trace,
} from '@opentelemetry/api'
import type { AuthDecision } from '../auth/authenticator.ts'
import type { ExchangeRecord } from '../exchange/record.ts'
import type { AttemptResult, ExchangeSpan } from '../exchange/span.ts'
import type { UpstreamTrace } from '../http/headers.ts'
import { loggedTarget } from '../telemetry/logging/masking.ts'

export interface ExchangeSpanParts {
  readonly record: ExchangeRecord
  readonly tracer: Tracer
  /** The span of the exchange, begun. */
  readonly span: Span
  /** Milliseconds, monotonic. */
  readonly now: () => number
}

/** Methods that spans name as they are; others are reported as `_OTHER` (OpenTelemetry, HTTP conventions). */
const KNOWN_METHODS = new Set([
  'GET',
  'HEAD',
  'POST',
  'PUT',
  'DELETE',
  'CONNECT',
  'OPTIONS',
  'TRACE',
  'PATCH',
])

/**
 * The spans of one exchange, with the attributes of OpenTelemetry's conventions for HTTP. None of
 * them identifies the user, since traces are read by people who may not see identities.
 */
export function createExchangeSpan(parts: ExchangeSpanParts): ExchangeSpan {
  const { record, tracer, span, now } = parts
  const context: Context = trace.setSpan(ROOT_CONTEXT, span)
  let current: Span = span
  let upstream: UpstreamTrace = upstreamTrace(span, record)

  return {
    get upstream() {
      return upstream
    },
    tokenDecided(decision, startTime) {
      const attributes = { 'gateway.decision': decisionOf(decision) }
      const child = tracer.startSpan('token look-up', { startTime, attributes }, context)
      if (decision.kind === 'failed') {
        child.setAttribute('error.type', decision.error.code).setStatus({ code: SpanStatusCode.ERROR })
      }
      child.end(now())
    },
    attemptBegan(target, path) {
      const attributes = attemptAttributes(record, target, path)
      const name = methodOf(record)
      current = tracer.startSpan(name, { kind: SpanKind.CLIENT, startTime: now(), attributes }, context)
      upstream = upstreamTrace(current, record)
    },
    attemptEnded(outcome) {
      describeOutcome(current, outcome)
      current.end(now())
    },
    end(status) {
      const { route } = record
      const method = methodOf(record)
      span.updateName(route === null ? method : `${method} ${route.label}`)
      span.setAttributes(exchangeAttributes(record, status))
      // Only a 5xx marks a server span as an error; a 4xx does not (OpenTelemetry's conventions for HTTP).
      if (status >= 500) span.setStatus({ code: SpanStatusCode.ERROR })
      span.end(now())
    },
  }
}

function upstreamTrace(span: Span, { trace: received }: ExchangeRecord): UpstreamTrace {
  const { traceId, spanId } = span.spanContext()
  return { traceparent: `00-${traceId}-${spanId}-01`, isNew: received.isNew }
}

function methodOf({ head }: ExchangeRecord): string {
  const { method } = head
  return KNOWN_METHODS.has(method) ? method : 'HTTP'
}

function methodAttributes({ head }: ExchangeRecord): Attributes {
  const { method } = head
  if (KNOWN_METHODS.has(method)) return { 'http.request.method': method }
  return { 'http.request.method': '_OTHER', 'http.request.method_original': method }
}

function exchangeAttributes(record: ExchangeRecord, status: number): Attributes {
  const { head, peer, route, code } = record
  const [path = '', query] = loggedTarget(head.target).split(/\?(.*)/s, 2)
  const answered = status !== 499
  return {
    ...methodAttributes(record),
    'url.scheme': peer.scheme,
    'url.path': path,
    ...(query === undefined ? {} : { 'url.query': query }),
    'network.protocol.version': head.httpVersion === '2.0' ? '2' : head.httpVersion,
    'network.peer.address': peer.address,
    ...(head.headers.host === undefined ? {} : { 'server.address': withoutPort(head.headers.host) }),
    ...(head.headers['user-agent'] === undefined
      ? {}
      : { 'user_agent.original': head.headers['user-agent'] }),
    ...(route === null ? {} : { 'http.route': route.label, 'gateway.upstream': route.upstream.name }),
    ...(answered ? { 'http.response.status_code': status } : { 'error.type': 'client_gone' }),
    ...(status >= 500 ? { 'error.type': code ?? String(status) } : {}),
    ...(code === null ? {} : { 'gateway.code': code }),
    'gateway.request_id': record.requestId,
    'gateway.retries': record.retries,
  }
}

function withoutPort(host: string): string {
  return host.replace(/:\d*$/, '')
}

function attemptAttributes(record: ExchangeRecord, target: string, path: string): Attributes {
  const { retries } = record
  const attributes: Attributes = {
    ...methodAttributes(record),
    ...(retries === 0 ? {} : { 'http.request.resend_count': retries }),
  }
  if (target.startsWith('unix:')) {
    return { ...attributes, 'server.address': target.slice('unix:'.length), 'url.path': loggedTarget(path) }
  }
  const { hostname, port, protocol, origin } = new URL(target)
  return {
    ...attributes,
    'server.address': hostname,
    'server.port': port === '' ? (protocol === 'https:' ? 443 : 80) : Number(port),
    'url.full': `${origin}${loggedTarget(path)}`,
  }
}

function describeOutcome(span: Span, outcome: AttemptResult): void {
  if (outcome.kind === 'answered') {
    span.setAttribute('http.response.status_code', outcome.status)
    if (outcome.status < 400) return
    span.setAttribute('error.type', String(outcome.status)).setStatus({ code: SpanStatusCode.ERROR })
  } else if (outcome.kind === 'failed') {
    span.setAttribute('error.type', outcome.code).setStatus({ code: SpanStatusCode.ERROR })
  } else if (outcome.kind === 'closed') {
    span.setAttribute('http.response.status_code', 101)
  } else {
    span.setAttribute('error.type', outcome.kind).setStatus({ code: SpanStatusCode.ERROR })
  }
}

function decisionOf(decision: AuthDecision): string {
  if (decision.kind === 'refused') return decision.code
  return decision.kind === 'failed' ? decision.error.code : decision.kind
}
