import type { Duplex } from 'node:stream'
import { type Exchange, hasBody } from '../exchange/exchange.ts'
import { type HeaderEdits, upstreamHeaders } from '../http/headers.ts'
import { withNewCookies } from '../http/new-cookies.ts'
import type { Route } from '../routing/snapshot.ts'
import type { Target } from '../upstreams/target.ts'
import type { TargetConnections } from '../upstreams/transport/dispatcher.ts'
import { createTurnEnd } from '../upstreams/transport/end-of-tick.ts'
import { forwardHttp, type HopOutcome } from '../upstreams/transport/http-attempt.ts'
import type { UpgradeOutcome } from '../upstreams/transport/upgrade-attempt.ts'
import type { MatchedTarget } from './admission.ts'
import { upstreamHost, upstreamPath } from './upstream-request.ts'

/** The client's connection where it asks to be switched over. */
export interface UpgradeParts {
  readonly socket: Duplex
  readonly head: Buffer
}

/** An admitted request on its way to a target. */
export interface Onward {
  readonly exchange: Exchange
  readonly route: Route
  readonly target: MatchedTarget
  /** The identity's header fields. */
  readonly identity: readonly string[]
  /** When the token ends, epoch milliseconds. */
  readonly tokenExpiresAt: number
  readonly upgrade: UpgradeParts | null
}

/** What came of one try at one target. */
export type Outcome = HopOutcome | UpgradeOutcome

export interface Attempts {
  /** Neither rejects. */
  attempt(onward: Onward, at: Target): Promise<Outcome>
  /** On a connection that has carried nothing yet. Not for upgrades, each of which has one of its own anyway. */
  attemptAfresh(onward: Onward, at: Target): Promise<HopOutcome>
}

const NOTHING = Buffer.alloc(0)

/** One try of an admitted request at one target, by the hop that it takes. */
export function createAttempts(): Attempts {
  const turnEnd = createTurnEnd()

  function attemptHttp(onward: Onward, at: Target, connections: TargetConnections): Promise<HopOutcome> {
    const { exchange, route, target } = onward
    const request = {
      path: upstreamPath(route, target),
      headers: headersFor(onward, at),
      hasBody: hasBody(exchange.req),
      maxBodyBytes: route.maxBodyBytes,
      responseEdits: withNewCookies(responseEdits(onward), exchange.newCookies),
    }
    return forwardHttp(connections, exchange, request, turnEnd)
  }

  return {
    attempt(onward, at) {
      beginSpan(onward, at)
      return onward.upgrade === null
        ? attemptHttp(onward, at, at.connections)
        : attemptUpgrade(onward, onward.upgrade, at)
    },
    attemptAfresh(onward, at) {
      beginSpan(onward, at)
      return attemptHttp(onward, at, at.connections.fresh)
    },
  }
}

function attemptUpgrade(onward: Onward, upgrade: UpgradeParts, at: Target): Promise<UpgradeOutcome> {
  const { exchange, route, target } = onward
  const { req, res, requestId, isLast } = exchange
  const request = {
    req,
    res,
    requestId,
    isLast,
    path: upstreamPath(route, target),
    headers: headersFor(onward, at),
    socket: upgrade.socket,
    head: exchange.retries === 0 ? upgrade.head : NOTHING,
    responseEdits: responseEdits(onward),
    count: exchange.count,
  }
  return at.upgrades.forward(request, (breakOff) => {
    exchange.upgraded = true
    exchange.breakOff = breakOff
  })
}

function beginSpan({ exchange, route, target }: Onward, at: Target): void {
  exchange.span?.tries(at.url, upstreamPath(route, target))
}

function responseEdits({ exchange, route }: Onward): HeaderEdits | null {
  return exchange.hsts === null ? route.responseEdits : route.secureResponseEdits
}

function headersFor({ exchange, route, target, identity }: Onward, at: Target): string[] {
  const { req, peer, requestId, trace, span } = exchange
  return upstreamHeaders(
    {
      rawHeaders: req.rawHeaders,
      host: target.host,
      upstreamHost: upstreamHost(route, target, at.host),
      peer,
      requestId,
      identity,
      trace: span !== null ? span.upstream : trace.begun ? trace : null,
    },
    route.requestRules,
  )
}
