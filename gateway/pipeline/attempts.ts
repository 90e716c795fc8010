import type { Duplex } from 'node:stream'
import type { Exchange } from '../exchange/exchange.ts'
import { type HeaderEdits, upstreamHeaders } from '../http/headers.ts'
import { withNewCookies } from '../http/new-cookies.ts'
import type { Route } from '../routing/snapshot.ts'
import type { Target } from '../upstreams/target.ts'
import type { HttpOutcome } from '../upstreams/transport/attempt-outcome.ts'
import { KeptBody } from '../upstreams/transport/kept-body.ts'
import type { BeginOptions } from '../upstreams/transport/target-connections.ts'
import type { UpgradeOutcome } from '../upstreams/transport/upgrade-attempts.ts'
import type { RequestTarget } from './admission.ts'
import { upstreamHost, upstreamPath } from './upstream-request.ts'

/** The client's connection where it asks to be switched over. */
export interface UpgradeParts {
  readonly socket: Duplex
  readonly head: Buffer
}

/** An admitted request on its way to a target. */
export interface ForwardRequest {
  readonly exchange: Exchange
  readonly route: Route
  readonly target: RequestTarget
  /** The identity's header fields. */
  readonly identity: readonly string[]
  /** When the token ends, epoch milliseconds. */
  readonly tokenExpiresAt: number
  readonly upgrade: UpgradeParts | null
  /** The body, once an attempt was made after which it may have to be sent again. */
  keptBody: KeptBody | null
}

/** The outcome of one attempt at one target. */
export type Outcome = HttpOutcome | UpgradeOutcome

export interface Attempts {
  /** Makes one attempt. Never rejects. */
  attempt(request: ForwardRequest, at: Target): Promise<Outcome>
  /**
   * Makes one attempt on a connection that has carried nothing yet, or over HTTP/2 on the latest one. Never rejects. Not for upgrades, each of which has a
   * connection of its own anyway.
   */
  attemptAfresh(request: ForwardRequest, at: Target): Promise<HttpOutcome>
}

const FRESH: BeginOptions = { fresh: true }

/** Sends an admitted request to one target, as plain HTTP or as a handshake that switches over. */
export function createAttempts(): Attempts {
  function attemptHttp(request: ForwardRequest, at: Target, options?: BeginOptions): Promise<HttpOutcome> {
    const { exchange, route, target } = request
    const attempt = {
      path: upstreamPath(route, target),
      headers: headersFor(request, at),
      hasBody: exchange.request.hasBody,
      maxBodyBytes: route.maxBodyBytes,
      keptBody: keptBodyOf(request),
      responseEdits: withNewCookies(responseEdits(request), exchange.newCookies),
    }
    return new Promise((resolve) => at.connections.begin(exchange, attempt, resolve, options))
  }

  return {
    attempt(request, at) {
      beginSpan(request, at)
      return request.upgrade === null
        ? attemptHttp(request, at)
        : attemptUpgrade(request, request.upgrade, at)
    },
    attemptAfresh(request, at) {
      beginSpan(request, at)
      return attemptHttp(request, at, FRESH)
    },
  }
}

function attemptUpgrade(request: ForwardRequest, upgrade: UpgradeParts, at: Target): Promise<UpgradeOutcome> {
  const { exchange, route, target } = request
  const { response, record } = exchange
  const attempt = {
    response,
    record,
    path: upstreamPath(route, target),
    headers: headersFor(request, at),
    socket: upgrade.socket,
    head: upgrade.head,
    responseEdits: responseEdits(request),
  }
  return at.upgrades.forward(attempt, (breakOff) => {
    record.upgraded = true
    exchange.breakOff = breakOff
  })
}

/** Only a target that speaks HTTP/2 can say that it has not processed a request. */
function keptBodyOf(request: ForwardRequest): KeptBody | null {
  const { exchange, route } = request
  if (!exchange.request.hasBody || route.upstream.config.protocol !== 'http2') return null
  request.keptBody ??= new KeptBody(exchange.request)
  return request.keptBody
}

function beginSpan({ exchange, route, target }: ForwardRequest, at: Target): void {
  exchange.span?.attemptBegan(at.url, upstreamPath(route, target))
}

function responseEdits({ exchange, route }: ForwardRequest): HeaderEdits | null {
  return exchange.hsts === null ? route.responseEdits : route.secureResponseEdits
}

function headersFor({ exchange, route, target, identity }: ForwardRequest, at: Target): string[] {
  const { record, span } = exchange
  const { peer, requestId, trace } = record
  return upstreamHeaders(
    {
      rawHeaders: exchange.request.rawHeaders,
      host: target.host,
      upstreamHost: upstreamHost(route, target, at.host),
      peer,
      requestId,
      identity,
      trace: span !== null ? span.upstream : trace.isNew ? trace : null,
    },
    route.requestRules,
  )
}
