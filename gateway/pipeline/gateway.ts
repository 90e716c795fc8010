import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { type ErrorCode, statusOf } from '../core/errors.ts'
import type { Log } from '../core/log.ts'
import { answer, interrupt, refuse } from '../exchange/answers.ts'
import {
  announcedLength,
  bindExchange,
  clientIsGone,
  createExchange,
  type Exchange,
  exchangeOf,
  traceparentOf,
} from '../exchange/exchange.ts'
import type { Tracing } from '../exchange/tracing.ts'
import type { PeerTrust } from '../http/forwarded.ts'
import { isNavigation, redirectLocation } from '../http/login-redirect.ts'
import type { TraceIds } from '../http/traceparent.ts'
import type { Route, Snapshot } from '../routing/snapshot.ts'
import type { Metrics, RouteMetrics } from '../telemetry/metrics/metrics.ts'
import type { AccessLog } from './access-log.ts'
import { admit, type RequestTarget, readTarget } from './admission.ts'
import type { UpgradeParts } from './attempts.ts'
import type { Decider } from './decision.ts'
import type { OwnEndpoints } from './endpoints.ts'
import type { Forwarder } from './forwarding.ts'

export interface GatewayParts {
  /** The routing in force. */
  readonly snapshot: () => Snapshot
  readonly decider: Decider
  readonly forwarder: Forwarder
  readonly endpoints: OwnEndpoints
  readonly peers: PeerTrust
  readonly traceIds: Pick<TraceIds, 'continueOrStart'>
  /** Prefix of the gateway's own endpoints. */
  readonly gatewayPath: string
  /** `Strict-Transport-Security` for clients that speak HTTPS; null where it is not set. */
  readonly hsts: string | null
  /** Where a request that came by the redirect listener is to be had. */
  readonly secureUrl: (target: RequestTarget) => string
  readonly accessCookie: string
  /** Null where spans are not exported. */
  readonly tracing: Tracing | null
  readonly metrics: Metrics
  readonly log: Log
  readonly accessLog: AccessLog | null
  /** Milliseconds, monotonic. */
  readonly now: () => number
  /** True while answers ask the client to leave. */
  readonly draining: () => boolean
}

/** How a request came: with a body held back, as a handshake, or plainly. */
export interface Arrival {
  /** The client waits for `100 Continue` before it sends its body. */
  readonly awaitsContinue?: boolean
  readonly upgrade?: UpgradeParts
  /** The listener has found it unusable already. */
  readonly refusal?: ErrorCode
  /** It came by the redirect listener. */
  readonly insecure?: boolean
}

/** Bytes that were no request. */
export interface Unparsed {
  readonly socket: Socket
  readonly requestId: string
  /** What the client was answered. */
  readonly code: ErrorCode
}

export interface Gateway {
  /** Handles one request from its head to the end of its answer. Never rejects. */
  handle(req: IncomingMessage, res: ServerResponse, arrival?: Arrival): Promise<void>
  /**
   * Refuses a request that was handed over and cannot be read to its end. @returns false where that cannot be said any
   * more: an answer has begun, or there is no such request
   */
  interrupt(res: ServerResponse, code: ErrorCode): boolean
  /** Counts and tells what the listener has refused before there was a request to read. */
  unparsed(refusal: Unparsed): void
}

const PROBES = new Set(['/healthz', '/readyz'])

/** The whole request path. All state it needs is passed in; it keeps none between requests. */
export function createGateway(parts: GatewayParts): Gateway {
  const { metrics, peers, tracing } = parts
  const unmatched = metrics.route('none')

  async function handle(req: IncomingMessage, res: ServerResponse, arrival: Arrival = {}): Promise<void> {
    const exchange = begin(req, res, arrival.awaitsContinue ?? false)
    try {
      // One snapshot for the whole exchange, whatever is read from the file meanwhile.
      const snapshot = parts.snapshot()
      const scheme = peers.clientScheme(exchange.peer, req)
      if (scheme === 'https' && arrival.insecure !== true) exchange.hsts = parts.hsts
      if (arrival.refusal !== undefined) return no(exchange, arrival.refusal)
      if (arrival.insecure) return await redirect(exchange)

      const admission = admit(req, snapshot, scheme, parts.gatewayPath)
      if (admission.kind === 'refused') return no(exchange, admission.code, admission.allow)
      if (admission.kind === 'own') return await parts.endpoints.handle(exchange, { ...admission, scheme })

      const { route, target } = admission
      exchange.route = route
      const upgrade = arrival.upgrade ?? null
      const origin = { scheme, host: target.host, upgrade: upgrade !== null }
      const asked = parts.decider.decide({ exchange, route, origin, names: snapshot.identity })
      const decision = asked instanceof Promise ? await asked : asked
      if (clientIsGone(exchange) || res.headersSent) return
      if (decision.kind === 'denied') return deny(exchange, route, target, decision.code)
      if (announcedLength(req) > route.maxBodyBytes) return no(exchange, 'body_too_large')

      const { fields: identity, tokenExpiresAt } = decision
      const forward = { exchange, route, target, identity, tokenExpiresAt, upgrade }
      const outcome = await parts.forwarder.forward(forward)
      if (outcome.kind === 'refused') return no(exchange, outcome.code)
      if (outcome.kind === 'broken') return breakOff(exchange, outcome.code)
    } catch (error) {
      giveUp(exchange, error)
    }
  }

  /** A defect of the gateway's own: not answered as if nothing had happened, and the process lives on for the others. */
  function giveUp(exchange: Exchange, error: unknown): void {
    const { res, requestId } = exchange
    parts.log.error({ requestId, err: error }, 'a request could not be handled')
    try {
      if (res.headersSent) res.destroy()
      else no(exchange, 'overloaded')
    } catch {
      res.destroy()
    }
  }

  function no(exchange: Exchange, code: ErrorCode, allow?: readonly string[]): void {
    refuse(exchange, code, { accessCookie: parts.accessCookie, allow })
  }

  /** To HTTPS, whatever it is, but for what load balancers ask. No cookie is looked at. */
  async function redirect(exchange: Exchange): Promise<void> {
    const read = readTarget(exchange.req, 'http', parts.gatewayPath)
    if (read.kind === 'refused') return no(exchange, read.code, read.allow)
    if (read.kind === 'own' && PROBES.has(read.path)) {
      return parts.endpoints.handle(exchange, { ...read, scheme: 'http' })
    }
    answer(exchange, 308, ['Location', parts.secureUrl(read.target)], null)
  }

  function deny(exchange: Exchange, route: Route, target: RequestTarget, code: ErrorCode): void {
    if (statusOf(code) !== 401 || route.loginRedirect === null || !isNavigation(exchange.req)) {
      no(exchange, code)
      return
    }
    exchange.code = code
    answer(exchange, 303, ['Location', redirectLocation(route.loginRedirect, target.raw)], null)
  }

  /** Registers the end of the exchange first, so that nothing that happens to it goes uncounted. */
  function begin(req: IncomingMessage, res: ServerResponse, awaitsContinue: boolean): Exchange {
    const peer = peers.peerOf(req.socket)
    const exchange = createExchange(req, res, {
      peer,
      requestId: peers.requestId(peer, req),
      trace: parts.traceIds.continueOrStart(req.headers.traceparent),
      startedAt: parts.now(),
      isLast: parts.draining,
    })
    exchange.awaitsContinue = awaitsContinue
    bindExchange(exchange)
    if (tracing !== null) exchange.span = tracing.begin(exchange)
    metrics.requestsInFlight.value++
    res.once('close', () => finish(exchange))
    return exchange
  }

  function finish(exchange: Exchange): void {
    exchange.watcher?.clientClosed()
    metrics.requestsInFlight.value--
    const now = parts.now()
    const durationMs = now - exchange.startedAt
    // The client's side can close a turn before the hop tells its outcome.
    if (exchange.upstreamStartedAt !== null) exchange.upstreamMs ??= now - exchange.upstreamStartedAt
    const cells: RouteMetrics = exchange.route?.metrics ?? unmatched
    cells.requests(statusSent(exchange)).value++
    if (!exchange.upgraded) cells.duration.observe(durationMs / 1000, traceparentOf(exchange))
    exchange.span?.end(statusSent(exchange))
    parts.accessLog?.write(exchange, statusSent(exchange), durationMs)
  }

  return {
    interrupt(res, code) {
      const exchange = exchangeOf(res)
      return exchange !== null && interrupt(exchange, code, { accessCookie: parts.accessCookie })
    },
    unparsed({ socket, requestId, code }) {
      const status = statusOf(code)
      unmatched.requests(status).value++
      parts.accessLog?.writeUnparsed({ requestId, clientAddress: peers.peerOf(socket).address, status, code })
    },
    handle,
  }
}

/** Never a complete-looking short answer: the client's connection ends with the upstream's. */
function breakOff(exchange: Exchange, code: ErrorCode): void {
  const { req, res } = exchange
  exchange.code = code
  // Without a length or chunks only a reset tells a cut answer from a whole one (RFC 9112, section 8).
  if (req.httpVersion === '1.0') req.socket.resetAndDestroy()
  else res.destroy()
}

/** 499, as nginx logs it, for a client that left before there was an answer. */
function statusSent(exchange: Exchange): number {
  if (exchange.upgraded) return 101
  return exchange.res.headersSent ? exchange.res.statusCode : 499
}
