import { fileProblems } from './file-problems.ts'
import { isTokenRefusal } from './history.ts'
import type { Problem, ProcessNumbers } from './status.ts'
import type { Symptoms } from './symptoms.ts'
import { upstreamProblems } from './upstream-problems.ts'

/** Fewer refusals than this are too few to be judged by. */
const FEW = 5

/** @returns what is wrong now, what affects users first */
export function findProblems(symptoms: Symptoms): Problem[] {
  const { recent } = symptoms
  const found = [
    ...instanceProblems(symptoms),
    ...storeProblems(symptoms),
    ...lookupProblems(symptoms),
    ...refusalProblems(symptoms),
    ...symptoms.upstreams.flatMap((upstream) => upstreamProblems(upstream, recent.counts)),
    ...loadProblems(symptoms),
    ...fileProblems(symptoms),
  ]
  return [...found.filter(isRed), ...found.filter((problem) => !isRed(problem))]
}

function isRed({ severity }: Problem): boolean {
  return severity === 'red'
}

function instanceProblems({ causes, keys, workers, processes }: Symptoms): Problem[] {
  const own = causes.filter(({ reason }) => reason !== 'token_store' && reason !== 'fenced')
  const problems = own.map(({ reason, cause }): Problem => {
    if (reason === 'draining')
      return { severity: 'amber', what: 'The instance shuts down', detail: cause, section: 'draining' }
    if (reason === 'keys') {
      const detail = keys.reason === null ? cause : `${cause} (${keys.reason})`
      return {
        severity: 'red',
        what: 'There is no key to verify tokens with',
        detail,
        section: 'GatewayKeysNotLoaded',
      }
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
  const { oldPrimaries = [], newest } = tokenStore.timelines ?? {}
  const old: Problem[] =
    oldPrimaries.length === 0
      ? []
      : [
          {
            severity: 'amber',
            what: 'A replaced primary goes on',
            detail: `${oldPrimaries.join(', ')}, on an older timeline than ${newest}. The gateway refuses it; other programs may still write to it`,
            section: 'GatewayOldPrimary',
          },
        ]
  if (tokenStore.up) return old
  const fenced = causes.some(({ reason }) => reason === 'fenced')
  return [
    ...old,
    {
      severity: 'red',
      what: fenced ? 'The only primary that answers is an old one' : 'The token table cannot be queried',
      detail: `Routes that authenticate answer 503: ${tokenStore.reason ?? 'the reason is not known yet'}`,
      section: 'GatewayTokenStoreDown',
    },
  ]
}

/** What it mostly means that all tokens are refused so, whether users are hurt for sure, and where to read on. */
const ALL_REFUSED: Readonly<Record<string, Omit<Problem, 'what'>>> = {
  token_invalid: {
    severity: 'red',
    detail: 'they are signed with another key, or for another issuer or audience',
    section: 'GatewayTokensInvalid',
  },
  token_mismatch: {
    severity: 'red',
    detail: 'they name other users, mandates or sessions than their rows',
    section: 'GatewayTokenMismatch',
  },
  token_unknown: {
    severity: 'red',
    detail: 'they have no row: another database or table, or the rows were deleted',
    section: 'token_unknown',
  },
  token_expired: {
    severity: 'amber',
    detail: 'they have ended: nobody gets new ones, or a clock is wrong',
    section: 'token_expired',
  },
  token_revoked: {
    severity: 'amber',
    detail: 'they were revoked, or TOKEN_STATUSES names another status than the table has',
    section: 'token_revoked',
  },
}

/** A failure of longer ago is over, as far as can be told. */
const LATELY_S = 15

/** The cause of an outage is told by the store's own problem. */
function lookupProblems({ recent, tokenStore: { up, lastFailure } }: Symptoms): Problem[] {
  const { token_store_unavailable: unavailable = 0, overloaded = 0 } = recent.counts.decisions
  const failed = unavailable + overloaded
  if (!up || failed === 0) return []
  const over = lastFailure !== null && lastFailure.agoS > LATELY_S
  const why = lastFailure === null ? '' : `. The last: ${lastFailure.cause}`
  return [
    {
      severity: over ? 'amber' : 'red',
      what: over ? 'Look-ups failed in the last minute' : 'Look-ups fail',
      detail: `${failed} requests of the last minute were answered with 503 without a decision${why}`,
      section: overloaded > unavailable ? 'GatewayOverloaded' : 'GatewayTokenLookupsFailing',
    },
  ]
}

/** After a shorter time without a good token nothing can be said. */
const ALL_REFUSED_MS = 10_000

/** Tokens that are all refused: so a wrong key or an empty table shows. */
function refusalProblems({ recent: { allRefused } }: Symptoms): Problem[] {
  if (allRefused === null || allRefused.forMs < ALL_REFUSED_MS) return []
  const refusals = Object.entries(allRefused.decisions).filter(([code]) => isTokenRefusal(code))
  const refused = refusals.reduce((sum, [, count]) => sum + count, 0)
  if (refused < FEW) return []
  const [code] = refusals.reduce((a, b) => (b[1] > a[1] ? b : a))
  const { severity, detail, section } = ALL_REFUSED[code] ?? ALL_REFUSED.token_invalid!
  return [
    {
      severity,
      what: `Every token is refused since ${clockTime(allRefused.since)}`,
      detail: `${refused} of ${refused}, most as ${code}: ${detail}`,
      section,
    },
  ]
}

function clockTime(ms: number): string {
  return `${new Date(ms).toISOString().slice(11, 19)} UTC`
}

/** Share of the connections that may be open, from which on they soon are all taken. */
const NEARLY_FULL = 0.9
/** Share of a minute for which an event loop is held up, from which on it is seen, and from which on users notice. */
const HELD_UP = 0.05
const HELD_UP_LONG = 0.5

function loadProblems({ recent: { turnedAway }, processes }: Symptoms): Problem[] {
  const problems: Problem[] = []
  const fullest = mostBy(processes, ({ connections, maxConnections }) => connections / maxConnections)
  const nearlyFull = fullest !== null && fullest.connections >= fullest.maxConnections * NEARLY_FULL
  if (fullest !== null && (turnedAway > 0 || nearlyFull)) {
    const told = `${fullest.connections} of ${fullest.maxConnections} connections are open (MAX_CONNECTIONS)`
    const away = turnedAway > 0
    problems.push({
      severity: away ? 'red' : 'amber',
      what: away ? 'New clients are turned away' : 'Nearly all connections are taken',
      detail: away ? `${turnedAway} in the last minute; ${told}` : told,
      section: 'GatewayConnectionsRefused',
    })
  }
  const latest = mostBy(processes, ({ heldUpMs }) => heldUpMs)
  const share = (latest?.heldUpMs ?? 0) / 60_000
  if (latest !== null && share >= HELD_UP) {
    problems.push({
      severity: share >= HELD_UP_LONG ? 'red' : 'amber',
      what: 'The event loop is late',
      detail: `process ${latest.pid} was held up for ${Math.round(latest.heldUpMs / 1000)} s of the last minute, and its requests with it`,
      section: 'GatewayEventLoopLag',
    })
  }
  return problems
}

function mostBy(
  processes: readonly ProcessNumbers[],
  of: (numbers: ProcessNumbers) => number,
): ProcessNumbers | null {
  return processes.reduce<ProcessNumbers | null>(
    (most, each) => (most !== null && of(most) >= of(each) ? most : each),
    null,
  )
}
