import type { ErrorCode } from '../core/errors.ts'
import type { Log } from '../core/log.ts'
import { clientIsGone, type Exchange, traceparentOf } from '../exchange/exchange.ts'
import type { Route } from '../routing/snapshot.ts'
import { BoundExchange, type Interrupt } from '../streams/bound-exchange.ts'
import type { StreamGuard } from '../streams/stream-guard.ts'
import { SLOW_MS } from '../telemetry/metrics/traffic-metrics.ts'
import type { Ticket } from '../upstreams/pending-queue.ts'
import type { Target } from '../upstreams/target.ts'
import type { Acquisition, Lease, LeaseResult } from '../upstreams/upstream.ts'
import type { Attempts, ForwardRequest, Outcome } from './attempts.ts'
import { maySendAgain, Retries, showsNothing } from './retries.ts'
import type { TargetFailureLog } from './target-failure-log.ts'

export interface ForwarderParts {
  readonly attempts: Attempts
  readonly log: Log
  readonly failures: TargetFailureLog
  /** Keeps open exchanges bound to their tokens. */
  readonly guard: Pick<StreamGuard, 'watch'>
  readonly interrupt: Interrupt
  /** Milliseconds, monotonic. */
  readonly now: () => number
}

/** What is left to do for the client once no target is involved any more. */
export type Forwarded =
  | { readonly kind: 'done' }
  /** Nothing was sent to the client yet. */
  | { readonly kind: 'refused'; readonly code: ErrorCode }
  /** The answer had begun and cannot be finished. */
  | { readonly kind: 'broken'; readonly code: ErrorCode }

export interface Forwarder {
  /** Never rejects. */
  forward(request: ForwardRequest): Promise<Forwarded>
}

const DONE: Forwarded = { kind: 'done' }

export function createForwarder(parts: ForwarderParts): Forwarder {
  const { attempts, log } = parts

  function recordOutcome(exchange: Exchange, route: Route, lease: Lease, outcome: Outcome): void {
    const cells = lease.target.metrics
    if (outcome.kind === 'failed') {
      cells.failed.value++
      parts.failures.add({
        requestId: exchange.record.requestId,
        upstream: route.upstream.name,
        target: lease.target.url,
        code: outcome.code,
        err: outcome.cause,
      })
    } else if (outcome.kind === 'answered') {
      if (outcome.status >= 500) cells.error.value++
      else cells.ok.value++
    } else if (outcome.kind === 'closed') {
      cells.ok.value++
    } else if (outcome.kind === 'unsendable') {
      log.warn({ requestId: exchange.record.requestId, err: outcome.cause }, 'a request cannot be forwarded')
    }
    if (!exchange.record.upgraded) {
      route.upstreamMetrics.duration.observe(exchange.record.upstreamMs! / 1000, traceparentOf(exchange))
      if (exchange.record.upstreamMs! > SLOW_MS && !exchange.record.eventStream)
        route.upstreamMetrics.slow.value++
    }
  }

  function recordStart({ record }: Exchange, lease: Lease): void {
    record.target = lease.target.url
    record.upstreamStartedAt = parts.now()
    record.upstreamMs = null
  }

  /** @returns the outcome of another attempt at the same target; null where that may not be made */
  function attemptAgain(request: ForwardRequest, target: Target, outcome: Outcome): Promise<Outcome> | null {
    const { exchange, route } = request
    exchange.span?.attemptEnded(outcome)
    if (!maySendAgain(exchange, route.upstream, outcome)) return null
    // This counts neither as the target's failure nor against the retry budget. Each connection that has answered
    // allows one such retry, and what was not processed is no load, so they cannot pile up.
    countRetry(exchange, route)
    return attempts.attemptAfresh(request, target)
  }

  /** @param again another attempt follows */
  function endAttempt(request: ForwardRequest, lease: Lease, outcome: Outcome | null, again: boolean): void {
    const { exchange, route } = request
    if (outcome !== null) {
      exchange.record.upstreamMs = parts.now() - exchange.record.upstreamStartedAt!
      if (!again || !showsNothing(outcome)) recordOutcome(exchange, route, lease, outcome)
    }
    lease.release(outcome === null ? 'failure' : leaseResult(outcome))
  }

  return {
    async forward(request) {
      const { exchange, route, tokenExpiresAt } = request
      const { retryBudget } = route.upstream
      // Only now that the request is admitted may the client send what it holds back.
      exchange.response.sendContinue()
      const unwatch = parts.guard.watch(new BoundExchange(exchange, tokenExpiresAt, parts.interrupt))
      let retries: Retries | undefined
      retryBudget.deposit()
      try {
        for (;;) {
          const { holdings } = exchange.request
          const upgrade = request.upgrade !== null
          const acquired = route.upstream.acquire({ tried: retries?.tried, upgrade, holdings })
          const acquisition =
            acquired.kind === 'queued' ? await waitForLease(exchange, acquired.ticket) : acquired
          if (acquisition === null) return DONE
          if (acquisition.kind === 'refused') {
            if (acquisition.code === 'upstream_overloaded') route.upstreamMetrics.overloaded.value++
            return acquisition
          }
          const { lease } = acquisition
          let outcome: Outcome | null = null
          let again = false
          try {
            recordStart(exchange, lease)
            outcome = await attempts.attempt(request, lease.target)
            const second = attemptAgain(request, lease.target, outcome)
            if (second !== null) {
              outcome = await second
              exchange.span?.attemptEnded(outcome)
            }
            if (outcome.kind === 'failed') {
              retries ??= new Retries(route.upstream)
              again = retries.take(exchange, lease.target, outcome)
            } else again = outcome.kind === 'unplaced' && !clientIsGone(exchange)
          } finally {
            endAttempt(request, lease, outcome, again)
          }
          if (!again) return forwardedBy(exchange, outcome)
          if (outcome.kind === 'failed') countRetry(exchange, route)
        }
      } finally {
        unwatch()
        // No further attempt follows.
        exchange.request.discardBody()
      }
    },
  }
}

/** @returns null where the client has disconnected meanwhile */
async function waitForLease(exchange: Exchange, ticket: Ticket<Acquisition>): Promise<Acquisition | null> {
  exchange.watcher = { clientClosed: ticket.cancel }
  if (clientIsGone(exchange)) ticket.cancel()
  const acquisition = await ticket.result
  exchange.watcher = null
  if (acquisition?.kind !== 'leased' || !clientIsGone(exchange)) return acquisition
  acquisition.lease.release('unknown')
  return null
}

function countRetry(exchange: Exchange, route: Route): void {
  exchange.record.retries++
  route.upstreamMetrics.retries.value++
}

/** What outlier ejection counts: refused and reset connections, time-outs, and the answers that report them. */
function leaseResult(outcome: Outcome): LeaseResult {
  switch (outcome.kind) {
    case 'failed':
      return outcome.unprocessed ? 'unknown' : 'failure'
    case 'answered':
      return outcome.status === 502 || outcome.status === 503 || outcome.status === 504
        ? 'failure'
        : 'success'
    case 'closed':
      return 'success'
    // A client that disconnects is no sign of a fault of the target.
    case 'client-gone':
    case 'body-too-large':
    case 'unsendable':
    case 'unplaced':
      return 'unknown'
  }
}

function forwardedBy(exchange: Exchange, outcome: Outcome): Forwarded {
  if (outcome.kind === 'body-too-large') return refusedOrBroken(exchange, 'body_too_large')
  if (outcome.kind === 'unsendable') return refusedOrBroken(exchange, 'bad_request')
  return outcome.kind === 'failed' ? refusedOrBroken(exchange, outcome.code) : DONE
}

function refusedOrBroken(exchange: Exchange, code: ErrorCode): Forwarded {
  return exchange.response.headersSent || exchange.record.upgraded
    ? { kind: 'broken', code }
    : { kind: 'refused', code }
}
