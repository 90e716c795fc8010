import type { Sample } from './history.ts'
import type { Problem, Status, UpstreamStatus } from './status.ts'

/** What the problems are found in. */
export interface Symptoms
  extends Pick<Status, 'causes' | 'tokenStore' | 'routing' | 'upstreams' | 'workers' | 'processes'> {
  /** Samples of the last minute. */
  readonly recent: readonly Sample[]
}

/** Fewer requests than this in a minute are too few to be judged by. */
const FEW = 5

/** Share of the requests to an upstream that got no answer, from which on its users notice. */
const FAILING_SHARE = 0.2

/** @returns what is wrong now, what affects users first */
export function findProblems(symptoms: Symptoms): Problem[] {
  const found = [
    ...instanceProblems(symptoms),
    ...storeProblems(symptoms),
    ...decisionProblems(symptoms.recent),
    ...symptoms.upstreams.flatMap((upstream) => upstreamProblems(upstream, symptoms.recent)),
    ...fileProblems(symptoms),
  ]
  return [...found.filter(isRed), ...found.filter((problem) => !isRed(problem))]
}

function isRed({ severity }: Problem): boolean {
  return severity === 'red'
}

function instanceProblems({ causes, workers, processes }: Symptoms): Problem[] {
  const own = causes.filter(({ reason }) => reason !== 'token_store' && reason !== 'fenced')
  const problems = own.map(({ reason, cause }): Problem => {
    if (reason === 'draining') {
      return { severity: 'amber', what: 'The instance shuts down', detail: cause, section: 'draining' }
    }
    return { severity: 'red', what: 'The instance is not ready', detail: cause, section: 'GatewayNotReady' }
  })
  if (processes.length > 0 && processes.length < workers) {
    const detail = `${processes.length} of ${workers} answer; one that dies is replaced`
    problems.push({
      severity: 'amber',
      what: 'A worker does not answer',
      detail,
      section: 'GatewayRestarting',
    })
  }
  return problems
}

function storeProblems({ causes, tokenStore }: Symptoms): Problem[] {
  if (tokenStore.up) return []
  const fenced = causes.some(({ reason }) => reason === 'fenced')
  return [
    {
      severity: 'red',
      what: fenced ? 'The only primary that answers is an old one' : 'The token table cannot be queried',
      detail: `Routes that authenticate answer 503. ${tokenStore.reason ?? 'The reason is not known yet.'}`,
      section: 'GatewayTokenStoreDown',
    },
  ]
}

/** Look-ups that fail, and tokens that are all refused, which is how a wrong key or an empty table shows. */
function decisionProblems(recent: readonly Sample[]): Problem[] {
  const counts = sumOf(recent, 'decisions')
  const good = (counts.get('authenticated') ?? 0) + (counts.get('anonymous') ?? 0)
  const failed = (counts.get('token_store_unavailable') ?? 0) + (counts.get('overloaded') ?? 0)
  const refusals = [...counts].filter(([code]) => /^token_/.test(code) && code !== 'token_store_unavailable')
  const refused = refusals.reduce((sum, [, count]) => sum + count, 0)
  const problems: Problem[] = []
  if (failed > 0) {
    problems.push({
      severity: 'red',
      what: 'Look-ups fail',
      detail: `${failed} requests of the last minute were answered with 503 without a decision`,
      section: 'GatewayTokenLookupsFailing',
    })
  }
  if (refused >= FEW && (counts.get('authenticated') ?? 0) === 0) {
    const most = refusals.reduce((a, b) => (b[1] > a[1] ? b : a))
    problems.push({
      severity: good === 0 ? 'red' : 'amber',
      what: 'Every token of the last minute was refused',
      detail: `${refused} of ${refused}, most as ${most[0]}: the wrong key, or the wrong table`,
      section: most[0] === 'token_mismatch' ? 'GatewayTokenMismatch' : 'GatewayTokensInvalid',
    })
  }
  return problems
}

function upstreamProblems({ name, targets }: UpstreamStatus, recent: readonly Sample[]): Problem[] {
  const down = targets.filter(({ state }) => state !== 'up')
  const failures = sumOf(recent, 'failures').get(name) ?? 0
  const answers = sumOf(recent, 'answers').get(name) ?? 0
  const all = failures + answers
  const told = down.map(({ url, state, reason }) => `${url} is ${state} (${reason})`).join('; ')
  if (down.length > 0 && down.length === targets.length) {
    const what = `No target of ${name} is up`
    return [
      { severity: 'red', what, detail: `Its routes answer 503. ${told}`, section: 'GatewayUpstreamDown' },
    ]
  }
  if (failures > 0 && all >= FEW && failures / all >= FAILING_SHARE) {
    const detail = `${failures} of the last minute's ${all} requests got no answer${told === '' ? '' : `; ${told}`}`
    return [{ severity: 'red', what: `${name} does not answer`, detail, section: 'GatewayUpstreamFailing' }]
  }
  if (down.length === 0) return []
  const what = `${down.length} of ${targets.length} targets of ${name} are down`
  return [{ severity: 'amber', what, detail: told, section: 'GatewayUpstreamTargetDown' }]
}

function fileProblems({ routing }: Symptoms): Problem[] {
  const [first] = routing?.problems ?? []
  if (first === undefined) return []
  const place = first.line === null ? '' : `line ${first.line}, column ${first.column}: `
  return [
    {
      severity: 'amber',
      what: 'The routing file was refused',
      detail: `The one before stays in force. ${place}${first.message}`,
      section: 'GatewayConfigReloadFailed',
    },
  ]
}

function sumOf(recent: readonly Sample[], name: 'decisions' | 'answers' | 'failures'): Map<string, number> {
  const sums = new Map<string, number>()
  for (const sample of recent)
    for (const [key, count] of Object.entries(sample[name])) sums.set(key, (sums.get(key) ?? 0) + count)
  return sums
}
