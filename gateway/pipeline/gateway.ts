import type { ErrorPages } from '../core/error-pages/error-pages.ts'
import { type ErrorCode, statusOf } from '../core/errors.ts'
import type { Log } from '../core/log.ts'
import { answerDirectly, interruptExchange, sendRefusal } from '../exchange/answers.ts'
import { clientIsGone, createExchange, type Exchange, traceparentOf } from '../exchange/exchange.ts'
import type { InboundRequest, InboundResponse, ResponseOwner } from '../exchange/inbound.ts'
import { createRecord } from '../exchange/record.ts'
import type { Tracing } from '../exchange/tracing.ts'
import type { ConnectionEnds, PeerTrust } from '../http/forwarded.ts'
import { isNavigation, redirectLocation } from '../http/login-redirect.ts'
import type { OwnPaths } from '../http/own-paths.ts'
import { announcedLength } from '../http/request-framing.ts'
import type { TraceIds } from '../http/traceparent.ts'
import type { Route, Snapshot } from '../routing/snapshot.ts'
import type { Metrics, RouteMetrics } from '../telemetry/metrics/metrics.ts'
import type { AccessLog } from './access-log.ts'
import { type AdmissionRefusal, admit, type RequestTarget, readTarget } from './admission.ts'
import type { UpgradeParts } from './attempts.ts'
import type { Decider } from './decision.ts'
import type { OwnEndpoints } from './endpoints.ts'
import type { Forwarder } from './forwarding.ts'

export interface GatewayParts {
  /** @returns the routing in force */
  readonly snapshot: () => Snapshot
  readonly decider: Decider
  readonly forwarder: Forwarder
  readonly endpoints: OwnEndpoints
  readonly peers: PeerTrust
  readonly traceIds: Pick<TraceIds, 'continueOrStart'>
  readonly ownPaths: OwnPaths
  /** `Strict-Transport-Security` for clients that speak HTTPS; null where it is not set. */
  readonly hsts: string | null
  /** @returns the HTTPS URL of a request over plain HTTP */
  readonly secureUrl: (target: RequestTarget) => string
  readonly accessCookie: string
  readonly pages: ErrorPages
  /** Null where spans are not exported. */
  readonly tracing: Tracing | null
  readonly metrics: Metrics
  readonly log: Log
  readonly accessLog: AccessLog | null
  /** Milliseconds, monotonic. */
  readonly now: () => number
  /** True while the gateway drains: connections end with their current response. */
  readonly draining: () => boolean
}

/** What a listener knows of a request beside the request itself. */
export interface Arrival {
  /** It is a WebSocket handshake. */
  readonly upgrade?: UpgradeParts
  /** The code by which the listener wants it refused. */
  readonly refusal?: ErrorCode
  /** It came by the redirect listener. */
  readonly onRedirectListener?: boolean
}

/** Bytes that were not a request. */
export interface Unparsed {
  readonly socket: ConnectionEnds
  readonly requestId: string
  /** The code that the client was answered with. */
  readonly code: ErrorCode
}

export interface Gateway {
  /** Handles one request from its head to the end of its answer. Never rejects. */
  handle(request: InboundRequest, response: InboundResponse, arrival?: Arrival): Promise<void>
  /** Counts and logs what the listener has refused before there was a request to read. */
  recordUnparsed(refusal: Unparsed): void
}

const PROBES = new Set(['/healthz', '/readyz'])

/** The whole request path. All state it needs is passed in; it keeps none between requests. */
export function createGateway(parts: GatewayParts): Gateway {
  const { metrics, peers, tracing, accessCookie, pages } = parts
  const unmatched = metrics.route('none')

  async function handle(
    request: InboundRequest,
    response: InboundResponse,
    arrival: Arrival = {},
  ): Promise<void> {
    const exchange = beginExchange(request, response)
    try {
      // One snapshot for the whole exchange, whatever is read from the file meanwhile.
      const snapshot = parts.snapshot()
      const scheme = peers.clientScheme(exchange.record.peer, request)
      if (scheme === 'https' && arrival.onRedirectListener !== true) exchange.hsts = parts.hsts
      if (arrival.refusal !== undefined) return refuseUnread(exchange, arrival.refusal)
      if (arrival.onRedirectListener) return await redirect(exchange)

      const admission = admit(request, snapshot, scheme, parts.ownPaths)
      if (admission.kind === 'refused') return refuseAdmission(exchange, admission)
      if (admission.kind === 'own') {
        exchange.record.isProbe = PROBES.has(admission.path)
        return await parts.endpoints.handle(exchange, { ...admission, scheme })
      }

      const { route, target } = admission
      exchange.record.route = route
      const upgrade = arrival.upgrade ?? null
      const origin = { scheme, host: target.host, upgrade: upgrade !== null }
      const deciding = parts.decider.decide({ exchange, route, origin, names: snapshot.identity })
      // Not every decision is a promise, and awaiting would delay the others by a tick.
      const decision = deciding instanceof Promise ? await deciding : deciding
      if (clientIsGone(exchange) || response.headersSent) return
      if (decision.kind === 'denied') return deny(exchange, route, target, decision.code)
      if (announcedLength(request) > route.maxBodyBytes) return refuse(exchange, 'body_too_large')

      const { fields: identity, tokenExpiresAt } = decision
      const forward = { exchange, route, target, identity, tokenExpiresAt, upgrade, keptBody: null }
      const outcome = await parts.forwarder.forward(forward)
      if (outcome.kind === 'refused') return refuse(exchange, outcome.code)
      if (outcome.kind === 'broken') return abortResponse(exchange, outcome.code)
    } catch (error) {
      failExchange(exchange, error)
    }
  }

  /** The gateway itself has a defect: this exchange fails, and the process goes on for the others. */
  function failExchange(exchange: Exchange, error: unknown): void {
    const { response, record } = exchange
    parts.log.error({ requestId: record.requestId, err: error }, 'a request could not be handled')
    try {
      if (response.headersSent) response.abort()
      else refuse(exchange, 'overloaded')
    } catch {
      response.abort()
    }
  }

  function refuse(exchange: Exchange, code: ErrorCode): void {
    sendRefusal(exchange, code, { accessCookie, pages })
  }

  /** Which rule a malformed request broke, its sender has to know; of other refusals the code says all. */
  function refuseAdmission(exchange: Exchange, { code, reason, allow }: AdmissionRefusal): void {
    sendRefusal(exchange, code, {
      accessCookie,
      pages,
      allow,
      reason: code === 'bad_request' ? reason : undefined,
    })
  }

  /** As what could not even be parsed: with JSON. */
  function refuseUnread(exchange: Exchange, code: ErrorCode): void {
    sendRefusal(exchange, code, { accessCookie, pages: null })
  }

  /** Redirects to HTTPS, but for the probes of load balancers. No cookie is read. */
  async function redirect(exchange: Exchange): Promise<void> {
    const read = readTarget(exchange.request, 'http', parts.ownPaths)
    if (read.kind === 'refused') return refuseAdmission(exchange, read)
    if (read.kind === 'own' && PROBES.has(read.path)) {
      exchange.record.isProbe = true
      return parts.endpoints.handle(exchange, { ...read, scheme: 'http' })
    }
    answerDirectly(exchange, 308, ['Location', parts.secureUrl(read.target)], null)
  }

  function deny(exchange: Exchange, route: Route, target: RequestTarget, code: ErrorCode): void {
    if (statusOf(code) !== 401 || route.loginRedirect === null || !isNavigation(exchange.request)) {
      refuse(exchange, code)
      return
    }
    exchange.record.code = code
    answerDirectly(exchange, 303, ['Location', redirectLocation(route.loginRedirect, target.raw)], null)
  }

  /** Registers the end of the exchange first, so that nothing that happens to it goes uncounted. */
  function beginExchange(request: InboundRequest, response: InboundResponse): Exchange {
    const peer = peers.peerOf(request.socket)
    const record = createRecord({
      head: request,
      peer,
      requestId: peers.requestId(peer, request),
      trace: parts.traceIds.continueOrStart(request.headers.traceparent),
      startedAt: parts.now(),
    })
    const exchange = createExchange({ request, response, record, isLast: parts.draining })
    if (tracing !== null) exchange.span = tracing.begin(record)
    metrics.requestsInFlight.value++
    response.setOwner(new ExchangeOwner(exchange))
    return exchange
  }

  class ExchangeOwner implements ResponseOwner {
    readonly #exchange: Exchange

    constructor(exchange: Exchange) {
      this.#exchange = exchange
    }

    onClose(): void {
      finishExchange(this.#exchange)
    }

    onUnreadable(code: ErrorCode): boolean {
      return interruptExchange(this.#exchange, code, { accessCookie, pages })
    }
  }

  function finishExchange(exchange: Exchange): void {
    exchange.watcher?.clientClosed()
    metrics.requestsInFlight.value--
    const { record, span } = exchange
    const now = parts.now()
    const durationMs = now - record.startedAt
    // The client's side can close a tick before the attempt has its outcome.
    if (record.upstreamStartedAt !== null) record.upstreamMs ??= now - record.upstreamStartedAt
    const cells: RouteMetrics = record.route?.metrics ?? unmatched
    const status = statusSent(exchange)
    cells.requests(status).value++
    if (!record.upgraded) cells.duration.observe(durationMs / 1000, traceparentOf(exchange))
    span?.end(status)
    parts.accessLog?.write(record, status, durationMs)
  }

  return {
    recordUnparsed({ socket, requestId, code }) {
      const status = statusOf(code)
      unmatched.requests(status).value++
      parts.accessLog?.writeUnparsed({ requestId, clientAddress: peers.peerOf(socket).address, status, code })
    },
    handle,
  }
}

/** Aborts a response that cannot be finished: a short one must never look complete. */
function abortResponse({ response, record }: Exchange, code: ErrorCode): void {
  record.code = code
  response.abort()
}

/** 499, as in nginx, for a client that disconnected before the answer. */
function statusSent({ response, record }: Exchange): number {
  if (record.upgraded) return 101
  return response.headersSent ? response.statusCode : 499
}
