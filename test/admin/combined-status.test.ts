import t from 'tap'
import { combinedReadiness, combineStatus } from '../../gateway/admin/combined-status.ts'
import { parseProblem } from '../../gateway/admin/process-status.ts'
import type { ProcessStatus, TargetStatus } from '../../gateway/admin/status.ts'
import { type Readiness, readinessFrom } from '../../gateway/core/readiness.ts'

const GATEWAY = {
  readiness: { ready: true, reasons: [], causes: [] },
  instance: 'here',
  version: '1.2.3',
  node: 'v26.0.0',
  uptimeS: 10,
  workers: 2,
  history: { intervalS: 2, cursor: 'a.0', whole: true, samples: [] },
  recent: {
    counts: { decisions: {}, answers: {}, failures: {}, retries: {}, overloaded: {}, slow: {} },
    turnedAway: 0,
    allRefused: null,
  },
  routeNumbers: new Map([['2026-01-02', { requests: 7, errors: 1, p99Ms: 12 }]]),
  now: Date.parse('2026-01-02'),
}

const TARGET: TargetStatus = {
  url: 'http://a',
  state: 'up',
  upIn: 1,
  reason: null,
  ejectedForS: null,
  easedTo: 100,
  weight: 1,
  inFlight: 2,
  ejections: 0,
  ok: 10,
  errors: 1,
  failed: 0,
}

interface Given {
  readonly pid: number
  readonly loadedAt?: string
  readonly problems?: ProcessStatus['routing']['problems']
  readonly targets?: readonly TargetStatus[]
  readonly reason?: string | null
  readonly timelines?: NonNullable<ProcessStatus['tokenStore']['timelines']>
  readonly lastFailure?: ProcessStatus['tokenStore']['lastFailure']
  readonly keys?: ProcessStatus['keys']
  readonly certificates?: ProcessStatus['certificates']
}

function processStatus({
  pid,
  loadedAt = '2026-01-01',
  problems = [],
  targets = [TARGET],
  reason = null,
  timelines,
  lastFailure = null,
  keys = { state: 'current', reason: null },
  certificates = [],
}: Given) {
  const status: ProcessStatus = {
    readiness: { ready: reason === null, reasons: [], causes: [] },
    process: {
      pid,
      uptimeS: 100 - pid,
      residentBytes: 1000,
      inFlight: 2,
      connections: 1,
      maxConnections: 10,
      heldUpMs: 0,
    },
    tokenStore: {
      up: reason === null,
      code: reason === null ? null : 'DEADLINE',
      reason,
      lastFailure,
      ...(timelines === undefined ? {} : { timelines }),
    },
    keys,
    certificates,
    errorPages: [],
    routing: { file: '/upstreams.json', loadedAt, readAt: loadedAt, problems },
    routes: [{ route: loadedAt, methods: null, exact: false, auth: 'none', upstream: 'api' }],
    upstreams: [
      {
        name: 'api',
        balance: 'round-robin',
        pending: 2,
        maxPending: 8,
        late: 1,
        longestWaitS: pid,
        targets,
      },
    ],
    openStreams: { websocket: 1, sse: 2, other: 3 },
    totals: {
      pid,
      requests: 10,
      errors: 1,
      durations: [1, 2],
      lookups: 5,
      queries: 4,
      turnedAway: 0,
      counts: {
        decisions: { anonymous: 3, [`only_${pid}`]: 1 },
        answers: {},
        failures: {},
        retries: {},
        overloaded: {},
        slow: {},
      },
      routes: {},
      inFlight: 2,
    },
  }
  return status
}

t.test('the counts of the workers are summed', async (t) => {
  const status = combineStatus(GATEWAY, [processStatus({ pid: 2 }), processStatus({ pid: 1 })])
  t.match(status, {
    ready: true,
    openStreams: { websocket: 2, sse: 4, other: 6 },
    totals: { requests: 20, errors: 2, inFlight: 4, decisions: { anonymous: 6, only_1: 1, only_2: 1 } },
    upstreams: [
      {
        pending: 4,
        maxPending: 16,
        late: 2,
        longestWaitS: 2,
        targets: [{ state: 'up', upIn: 2, inFlight: 4, ok: 20, errors: 2 }],
      },
    ],
  })
  t.same(
    status.processes.map(({ pid }) => pid),
    [1, 2],
    'the oldest first',
  )
  t.same(Object.keys(status.totals).sort(), [
    'decisions',
    'errors',
    'inFlight',
    'lookups',
    'queries',
    'requests',
  ])
})

t.test('a target has the worst state that a worker reports', async (t) => {
  const ejected: TargetStatus = {
    ...TARGET,
    state: 'ejected',
    upIn: 0,
    reason: '5 failures in a row',
    ejectedForS: 7,
    easedTo: 10,
  }
  for (const each of [
    [TARGET, ejected],
    [ejected, TARGET],
  ]) {
    const status = combineStatus(
      GATEWAY,
      each.map((target, i) => processStatus({ pid: i, targets: [target] })),
    )
    t.match(status.upstreams[0]!.targets, [
      { state: 'ejected', upIn: 1, reason: '5 failures in a row', ejectedForS: 7, easedTo: 10 },
    ])
  }
})

t.test('of timelines the newest is shown, and every host that goes on as an old primary once', async (t) => {
  const known = { newest: 2, untold: false, refused: 3, oldPrimaries: ['a:1'] }
  const { tokenStore } = combineStatus(GATEWAY, [
    processStatus({ pid: 1, timelines: known }),
    processStatus({ pid: 2, timelines: { ...known, newest: 3, oldPrimaries: ['a:1', 'b:1'] } }),
    processStatus({ pid: 3, timelines: { newest: null, untold: true, refused: 0, oldPrimaries: [] } }),
  ])
  t.same(tokenStore.timelines, { newest: 3, untold: true, refused: 6, oldPrimaries: ['a:1', 'b:1'] })
  t.equal(combineStatus(GATEWAY, []).tokenStore.timelines, undefined)
})

t.test('during a reload targets of several workers are matched by URL, not by position', async (t) => {
  const added = { ...TARGET, url: 'http://new', inFlight: 100 }
  const status = combineStatus(GATEWAY, [
    processStatus({ pid: 1, loadedAt: '2026-01-01' }),
    processStatus({ pid: 2, loadedAt: '2026-01-02', targets: [added, TARGET] }),
  ])
  t.same(
    status.upstreams[0]!.targets.map(({ url, inFlight }) => [url, inFlight]),
    [
      ['http://new', 100],
      ['http://a', 4],
    ],
  )
  t.match(status.routes[0], { route: '2026-01-02', requests: 7, p99Ms: 12 }, 'the newest routes are shown')
  t.equal(status.routing!.loadedAt, '2026-01-01', 'with the oldest that is still in force')
})

t.test('a routing file that one worker refused is shown', async (t) => {
  const problems = [{ line: 3, column: 4, pointer: '/routes', message: 'no' }]
  const status = combineStatus(GATEWAY, [processStatus({ pid: 1 }), processStatus({ pid: 2, problems })])
  t.same(status.routing!.problems, problems)
})

t.test('the token table is down if one worker cannot query it', async (t) => {
  const status = combineStatus(GATEWAY, [
    processStatus({ pid: 1 }),
    processStatus({ pid: 2, reason: 'gone' }),
  ])
  t.same(status.tokenStore, { up: false, code: 'DEADLINE', reason: 'gone', lastFailure: null })
})

t.test('of several workers the latest failure and the worst keys are shown', async (t) => {
  const failure = (cause: string, agoS: number) => ({ code: 'DEADLINE', cause, agoS })
  const status = combineStatus(GATEWAY, [
    processStatus({ pid: 1, lastFailure: failure('earlier', 20) }),
    processStatus({ pid: 2, lastFailure: failure('later', 3), keys: { state: 'outdated', reason: 'no' } }),
    processStatus({ pid: 3 }),
  ])
  t.match(status.tokenStore, { up: true, lastFailure: { cause: 'later' } })
  t.same(status.keys, { state: 'outdated', reason: 'no' })
})

t.test('of a certificate that workers see in different states the worse is shown, once', async (t) => {
  const certificate = (endsAt: string | null, reason: string | null) => ({
    file: 'a.crt',
    beginsAt: null,
    endsAt,
    reason,
  })
  const other = { file: 'b.crt', beginsAt: null, endsAt: null, reason: 'is no pair' }
  const status = combineStatus(GATEWAY, [
    processStatus({ pid: 1, certificates: [certificate('2026-05-01', null)] }),
    processStatus({ pid: 2, certificates: [certificate('2026-02-01', 'has ended'), other] }),
  ])
  t.same(status.certificates, [certificate('2026-02-01', 'has ended'), other])
})

t.test('an instance is ready if at least one worker answers and all that answer are ready', (t) => {
  const ready: Readiness = { ready: true, reasons: [], causes: [] }
  const draining = readinessFrom([{ reason: 'draining', cause: 'it is leaving' }])
  t.same(combinedReadiness([ready], 2), ready, 'the other one is stuck, or being replaced')
  t.same(combinedReadiness([ready, draining], 2), draining)
  t.same(combinedReadiness([], 2), {
    ready: false,
    reasons: [],
    causes: [{ reason: null, cause: '2 of 2 workers do not answer' }],
  })
  t.end()
})

t.test('a fault that several workers report is shown once for each cause', (t) => {
  const lock = { reason: 'token_store', cause: 'the table is locked' } as const
  const slow = { reason: 'token_store', cause: 'the server is slow' } as const
  const draining = { reason: 'draining', cause: 'it is leaving' } as const
  const each = [[lock], [draining, lock], [slow]].map(readinessFrom)
  t.same(combinedReadiness(each, 3), {
    ready: false,
    reasons: ['token_store', 'draining'],
    causes: [lock, draining, slow],
  })
  t.end()
})

t.test('without an answer of any worker the status has the same shape', async (t) => {
  const readiness = combinedReadiness([], 2)
  const none = combineStatus({ ...GATEWAY, readiness }, [])
  t.match(none, { ready: false, routing: null, routes: [], upstreams: [], processes: [] })
  t.match(none, {
    tokenStore: { up: false, code: null, reason: null, lastFailure: null },
    totals: { requests: 0, decisions: {} },
  })
  const some = combineStatus(GATEWAY, [processStatus({ pid: 1 })])
  t.same(Object.keys(none).sort(), Object.keys(some).sort())
})

t.test('a problem of the routing file is split into its position and its text', async (t) => {
  const file = '/etc/a:1:2/upstreams.json'
  t.same(parseProblem(`${file}:14:9: /routes/3/up: found 1: expected 2`, file), {
    line: 14,
    column: 9,
    pointer: '/routes/3/up',
    message: 'found 1: expected 2',
  })
  t.same(parseProblem(`${file}:1:1: : is not UTF-8; expected JSON in UTF-8`, file), {
    line: 1,
    column: 1,
    pointer: '',
    message: 'is not UTF-8; expected JSON in UTF-8',
  })
  t.same(parseProblem(`${file}: cannot be put in force (Error)`, file), {
    line: null,
    column: null,
    pointer: '',
    message: 'cannot be put in force (Error)',
  })
})
