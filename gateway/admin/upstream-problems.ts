import { countOf, type NamedCounts, targetKey } from '../telemetry/metrics/totals.ts'
import type { Problem, TargetStatus, UpstreamStatus } from './status.ts'

/** Fewer exchanges than this in a minute are too few to be judged by. */
const FEW = 5
/** With so few all of them have to fail. */
const VERY_FEW = 2

/** Share of the exchanges that got no answer, from which on users notice. */
const FAILING_SHARE = 0.2

/** Share of the answers that are slow, from which on the upstream is. */
const SLOW_SHARE = 0.5

interface TargetCounts {
  readonly target: TargetStatus
  readonly failures: number
  readonly all: number
}

/** @returns at most one problem of each kind: no answers, requests that wait, slow answers */
export function upstreamProblems(upstream: UpstreamStatus, counts: NamedCounts): Problem[] {
  const unanswered = unansweredProblem(upstream, counts)
  const waiting = waitingProblem(upstream, counts)
  const slow = unanswered?.severity === 'red' || waiting !== null ? null : slowProblem(upstream, counts)
  return [unanswered, waiting, slow].filter((problem) => problem !== null)
}

function unansweredProblem({ name, targets }: UpstreamStatus, counts: NamedCounts): Problem | null {
  const each = targets.map((target) => countsOf(name, target, counts))
  const down = targets.filter(({ state }) => state !== 'up')
  if (down.length > 0 && down.length === targets.length) {
    const what = `No target of ${name} is up`
    const detail = `Its routes answer 503. ${down.map(tellState).join('; ')}`
    return { severity: 'red', what, detail, section: 'GatewayUpstreamDown' }
  }
  const failures = each.reduce((sum, target) => sum + target.failures, 0)
  const all = each.reduce((sum, target) => sum + target.all, 0)
  // An exchange that failed and was sent again is one request.
  const retries = countOf(counts.retries, name)
  const lost = { failures: Math.max(0, failures - retries), all: all - retries }
  const ill = each.filter((target) => target.target.state !== 'up' || fails(target))
  const told = ill.map(tellTarget).join('; ')
  if (fails(lost)) {
    const detail = `${lost.failures} of the last minute's ${lost.all} requests got no answer. ${told}`
    return { severity: 'red', what: `${name} does not answer`, detail, section: 'GatewayUpstreamFailing' }
  }
  if (ill.length === 0) return null
  const onlyDown = ill.length === down.length
  const [areDown, answer] = ill.length === 1 ? ['is down', 'does not answer'] : ['are down', 'do not answer']
  return {
    severity: 'amber',
    what: `${ill.length} of ${targets.length} targets of ${name} ${onlyDown ? areDown : answer}`,
    detail: told,
    section: onlyDown ? 'GatewayUpstreamTargetDown' : 'GatewayUpstreamFailing',
  }
}

function countsOf(name: string, target: TargetStatus, { answers, failures }: NamedCounts): TargetCounts {
  const key = targetKey(name, target.url)
  const failed = countOf(failures, key)
  return { target, failures: failed, all: failed + countOf(answers, key) }
}

function fails({ failures, all }: Pick<TargetCounts, 'failures' | 'all'>): boolean {
  if (all < VERY_FEW) return false
  return all < FEW ? failures === all : failures / all >= FAILING_SHARE
}

function tellTarget({ target, failures, all }: TargetCounts): string {
  return target.state === 'up' ? `${target.url} gave no answer to ${failures} of ${all}` : tellState(target)
}

function tellState({ url, state, reason }: TargetStatus): string {
  return `${url} is ${state} (${reason})`
}

function waitingProblem(upstream: UpstreamStatus, { overloaded }: NamedCounts): Problem | null {
  const { name, pending, maxPending } = upstream
  const refused = countOf(overloaded, name)
  const told = `${pending} requests wait for a connection, of at most ${maxPending}`
  if (refused > 0) {
    const detail = `${refused} requests of the last minute were answered with 503; ${told}`
    return { severity: 'red', what: `${name} is full`, detail, section: 'upstream_overloaded' }
  }
  if (pending === 0 || pending < maxPending / 2) return null
  return { severity: 'amber', what: `${name} is nearly full`, detail: told, section: 'upstream_overloaded' }
}

/** Also before any of the answers has come, or a backend that hangs would show only by its time-outs. */
function slowProblem(upstream: UpstreamStatus, counts: NamedCounts): Problem | null {
  const { name, targets, late, longestWaitS } = upstream
  const slow = countOf(counts.slow, name) + late
  const answered = targets.reduce((sum, target) => sum + countsOf(name, target, counts).all, 0)
  const all = answered + late
  if (slow < VERY_FEW || slow / all < SLOW_SHARE) return null
  const waits =
    late === 0
      ? ''
      : `; ${late} ${late === 1 ? 'waits' : 'wait'} now, the longest for ${Math.round(longestWaitS)} s`
  return {
    severity: 'amber',
    what: `${name} is slow`,
    detail: `${slow} of the last minute's ${all} requests took longer than 5 s${waits}`,
    section: 'GatewayUpstreamSlow',
  }
}
