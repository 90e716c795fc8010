import { hostname } from 'node:os'
import type { ExplainAnswer, ExplainQuestion } from '../admin/explain-question.ts'
import type { LiveParts } from '../app/live-parts.ts'
import { describeDatabase, describeKey } from '../app/sources.ts'
import { escapeInvisible } from '../core/message-text.ts'
import type { Timelines } from '../core/timelines.ts'
import type { Upstream } from '../upstreams/upstream.ts'
import { describeLiveTargets } from './descriptions.ts'
import { type Explanation, explain, type Step } from './explanation.ts'
import { readQuestion } from './question.ts'

/** What `POST /explain` answers: an explanation, and what it was made with. */
export interface LiveExplanation extends Explanation {
  readonly sources: Sources
}

/** What the answering process uses. No secret is in it. */
export interface Sources {
  /** The machine or container. */
  readonly instance: string
  readonly pid: number
  readonly database: string
  readonly key: string
  readonly routingFile: string
}

export type LiveExplainer = (question: ExplainQuestion) => Promise<ExplainAnswer>

/** One is explained at a time, since each look-up takes a connection from those of requests. */
const MAX_WAITING = 32

/** Explains requests by the parts of this process, as they are now: its routing, keys, targets and connections. */
export function createLiveExplainer(live: LiveParts): LiveExplainer {
  const { settings, scheduler, routing } = live
  const parts = {
    settings,
    scheduler,
    verifier: live.verifier,
    table: live.table,
    ownPaths: live.ownPaths,
    onQuery: live.onQuery,
    cookies: { access: settings.accessCookie, refresh: settings.refreshCookie },
    snapshot: routing.current,
    lookupTimeoutMs: settings.lookupTimeoutMs,
    describeUpstream: (upstream: Upstream) => describeLiveTargets(upstream, scheduler.now()),
  }
  const sources = {
    instance: hostname(),
    pid: process.pid,
    database: describeDatabase(live.databaseUrl),
    key: describeKey(live.keySource, settings.keySource),
  }
  let waiting = 0
  let last: Promise<unknown> = Promise.resolve()

  return async (question) => {
    const read = readQuestion(question, settings.accessCookie)
    if (!read.ok) return { kind: 'misunderstood', problem: read.problem }
    if (waiting >= MAX_WAITING) return { kind: 'busy' }
    waiting++
    const explaining = last.then(() => explain(read.request, parts))
    last = explaining.catch(() => {}).finally(() => waiting--)
    const { steps, ...outcome } = await explaining
    const explanation: LiveExplanation = {
      ...outcome,
      steps: [...steps.slice(0, 1), describeInstance(live), ...steps.slice(1)],
      sources: { ...sources, routingFile: routing.status.file },
    }
    return { kind: 'explained', explanation }
  }
}

function describeTimelines({ newest, untold, oldPrimaries }: Timelines): string {
  if (untold) return 'the database does not tell its timeline: a replaced primary would not be noticed'
  if (newest === null) return 'no database server has told its timeline yet'
  const old = oldPrimaries.length === 0 ? '' : `, of which ${oldPrimaries.join(', ')} is one`
  return `the database is on timeline ${newest}, and primaries on older ones are refused${old}`
}

/** What the settings and the file do not show: what is in force, and what is wrong with this process. */
function describeInstance({ routing, keys, readiness, timelines }: LiveParts): Step {
  const { loadedAt, problems } = routing.status
  const [problem] = problems
  const details = [
    `${hostname()}, process ${process.pid}`,
    `routing file in force since ${new Date(loadedAt).toISOString()}`,
    describeTimelines(timelines()),
    ...(problem === undefined ? [] : [`what the file holds now is refused: ${problem}`]),
    ...(keys.state === 'outdated' ? ['the newest version of the keys cannot be used'] : []),
    ...readiness().causes.map(({ cause }) => `not ready: ${cause}`),
  ]
  return { title: 'Instance', details: details.map(escapeInvisible) }
}
