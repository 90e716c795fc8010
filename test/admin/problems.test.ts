import t from 'tap'
import { findProblems } from '../../gateway/admin/problems.ts'
import type { Symptoms } from '../../gateway/admin/symptoms.ts'
import type { NamedCounts } from '../../gateway/telemetry/metrics/totals.ts'
import { manualSection } from '../support/repository.ts'
import { goodStatus, targetStatus, upstreamStatus } from '../support/status-stage.ts'

const NOW = Date.parse('2026-12-01T03:04:05Z')

/** What was counted in the last minute. */
function recent(counts: Partial<NamedCounts>, more: Partial<Symptoms['recent']> = {}): Symptoms['recent'] {
  return {
    counts: { decisions: {}, answers: {}, failures: {}, retries: {}, overloaded: {}, slow: {}, ...counts },
    turnedAway: 0,
    allRefused: null,
    ...more,
  }
}

function problemsOf(symptoms: Partial<Symptoms>) {
  return findProblems({ ...goodStatus(), recent: recent({}), now: NOW, ...symptoms })
}

/** Tokens were refused since 02:14:05, and none was good. */
function allRefused(decisions: Record<string, number>, forMs = 30_000): Symptoms['recent'] {
  return recent({}, { allRefused: { since: Date.parse('2026-12-01T02:14:05Z'), forMs, decisions } })
}

/** Of a process that is well but for this. */
function processes(more: object): Symptoms['processes'] {
  return goodStatus().processes.map((numbers) => ({ ...numbers, ...more }))
}

const A = targetStatus({ url: 'http://a' })
const B = targetStatus({ url: 'http://b' })
const TWO = [upstreamStatus({ targets: [A, B] })]
const DOWN = targetStatus({ state: 'unhealthy', reason: 'the check was answered with 500' })

t.test('of a gateway that is well there is nothing to say', async (t) => {
  t.same(problemsOf({ recent: recent({ decisions: { authenticated: 9, token_expired: 3 } }) }), [])
})

for (const name of ['constructor', 'toString', 'valueOf']) {
  t.test(`of an upstream with the name ${name} nothing is said either`, async (t) => {
    const upstreams = [upstreamStatus({ name, targets: [A] })]
    t.same(problemsOf({ upstreams, recent: recent({ answers: { [`${name} http://a`]: 9 } }) }), [])
  })
}

const CASES: [what: string, symptoms: Partial<Symptoms>, severity: string, section: string, said: RegExp][] =
  [
    [
      'a token store that is down',
      { tokenStore: { up: false, code: '57P03', reason: 'the server starts up', lastFailure: null } },
      'red',
      'GatewayTokenStoreDown',
      /the server starts up/,
    ],
    [
      'an old primary of the database that goes on',
      {
        tokenStore: {
          up: true,
          code: null,
          reason: null,
          lastFailure: null,
          timelines: { newest: 3, untold: false, refused: 0, oldPrimaries: ['db-a:5432'] },
        },
      },
      'amber',
      'GatewayOldPrimary',
      /db-a:5432, on an older timeline than 3/,
    ],
    [
      'a missing key',
      {
        causes: [{ reason: 'keys', cause: 'there is no key yet' }],
        keys: { state: 'none', reason: 'answered with 404' },
      },
      'red',
      'GatewayKeysNotLoaded',
      /there is no key yet.*answered with 404/,
    ],
    [
      'a drain',
      { causes: [{ reason: 'draining', cause: 'it has received a signal' }] },
      'amber',
      'draining',
      /a signal/,
    ],
    ['a worker that does not answer', { workers: 2 }, 'amber', 'GatewayRestarting', /1 of 2/],
    [
      'look-ups that fail',
      {
        recent: recent({ decisions: { authenticated: 90, token_store_unavailable: 4 } }),
        tokenStore: {
          ...goodStatus().tokenStore,
          lastFailure: { code: 'DEADLINE', cause: 'the table is locked', agoS: 3 },
        },
      },
      'red',
      'GatewayTokenLookupsFailing',
      /^4 requests.*the table is locked/,
    ],
    [
      'look-ups of which too many wait',
      { recent: recent({ decisions: { authenticated: 90, overloaded: 4 } }) },
      'red',
      'GatewayOverloaded',
      /^4 requests/,
    ],
    [
      'tokens that are all refused',
      { recent: allRefused({ token_invalid: 9 }) },
      'red',
      'GatewayTokensInvalid',
      /9 of 9, most as token_invalid: .*another key/,
    ],
    [
      'tokens that all have no row, though routes without authentication are used',
      { recent: allRefused({ token_unknown: 9, token_expired: 2, anonymous: 50 }) },
      'red',
      'token_unknown',
      /11 of 11, most as token_unknown: .*another database/,
    ],
    [
      'tokens that have all ended',
      { recent: allRefused({ token_expired: 9 }) },
      'amber',
      'token_expired',
      /token_expired: /,
    ],
    [
      'an upstream without a target that is up',
      { upstreams: [upstreamStatus({ targets: [DOWN] })] },
      'red',
      'GatewayUpstreamDown',
      /answered with 500/,
    ],
    [
      'one of two targets that is down',
      { upstreams: [upstreamStatus({ targets: [DOWN, B] })] },
      'amber',
      'GatewayUpstreamTargetDown',
      /answered with 500/,
    ],
    [
      'an upstream that does not answer, without health checks',
      {
        upstreams: TWO,
        recent: recent({ answers: { 'api http://a': 6 }, failures: { 'api http://b': 4 } }),
      },
      'red',
      'GatewayUpstreamFailing',
      /^4 of the last minute's 10 .*http:\/\/b gave no answer to 4 of 4/,
    ],
    [
      'a sole backend that answered none of two requests',
      { upstreams: [upstreamStatus({ targets: [A] })], recent: recent({ failures: { 'api http://a': 2 } }) },
      'red',
      'GatewayUpstreamFailing',
      /^2 of the last minute's 2/,
    ],
    [
      'one of two targets that does not answer, whose requests the other one gets',
      {
        upstreams: TWO,
        recent: recent({
          answers: { 'api http://a': 10 },
          failures: { 'api http://b': 5 },
          retries: { api: 5 },
        }),
      },
      'amber',
      'GatewayUpstreamFailing',
      /^http:\/\/b gave no answer to 5 of 5$/,
    ],
    [
      'an upstream that is full',
      {
        upstreams: [upstreamStatus({ pending: 1000, maxPending: 1024 })],
        recent: recent({ overloaded: { api: 3 } }),
      },
      'red',
      'upstream_overloaded',
      /^3 requests .*1000 requests wait .* at most 1024/,
    ],
    [
      'an upstream that is nearly full',
      { upstreams: [upstreamStatus({ pending: 600, maxPending: 1024 })] },
      'amber',
      'upstream_overloaded',
      /^600 requests wait/,
    ],
    [
      'an upstream whose answers are slow',
      {
        upstreams: [upstreamStatus({ targets: [A] })],
        recent: recent({ answers: { 'api http://a': 4 }, slow: { api: 3 } }),
      },
      'amber',
      'GatewayUpstreamSlow',
      /^3 of the last minute's 4/,
    ],
    [
      'an upstream that hangs, before any request has timed out',
      { upstreams: [upstreamStatus({ targets: [A], late: 2, longestWaitS: 31.4 })] },
      'amber',
      'GatewayUpstreamSlow',
      /2 wait now, the longest for 31 s/,
    ],
    [
      'clients that are turned away',
      { recent: recent({}, { turnedAway: 7 }), processes: processes({ connections: 10_000 }) },
      'red',
      'GatewayConnectionsRefused',
      /^7 in the last minute; 10000 of 10000/,
    ],
    [
      'connections that are nearly all taken',
      { processes: processes({ connections: 9000 }) },
      'amber',
      'GatewayConnectionsRefused',
      /9000 of 10000/,
    ],
    [
      'an event loop that is late',
      { processes: processes({ heldUpMs: 4000 }) },
      'amber',
      'GatewayEventLoopLag',
      /process 4711 was held up for 4 s/,
    ],
    [
      'an event loop that is late most of the time',
      { processes: processes({ heldUpMs: 40_000 }) },
      'red',
      'GatewayEventLoopLag',
      /40 s/,
    ],
    [
      'a certificate that has expired',
      {
        certificates: [
          { file: '/tls/a.crt', beginsAt: null, endsAt: '2026-12-01T03:04:04.000Z', reason: null },
        ],
      },
      'red',
      'GatewayCertificateExpired',
      /1 December 2026, 03:04 UTC/,
    ],
    [
      'a certificate that is not valid yet',
      {
        certificates: [
          {
            file: 'a',
            beginsAt: '2026-12-01T03:05:00.000Z',
            endsAt: '2027-12-01T03:05:00.000Z',
            reason: null,
          },
        ],
      },
      'red',
      'GatewayCertificateExpired',
      /It begins on 1 December 2026, 03:05 UTC/,
    ],
    [
      'a certificate that ends soon',
      {
        certificates: [
          { file: '/tls/a.crt', beginsAt: null, endsAt: '2026-12-04T10:15:00.000Z', reason: null },
        ],
      },
      'amber',
      'GatewayCertificateExpiring',
      /4 December 2026, 10:15 UTC/,
    ],
    [
      'a certificate whose replacement is not fit',
      {
        certificates: [
          { file: 'a.crt', beginsAt: null, endsAt: '2027-03-01T00:00:00.000Z', reason: 'is no pair' },
        ],
      },
      'amber',
      'GatewayCertificateRefused',
      /until 1 March 2027, 00:00 UTC. is no pair/,
    ],
    [
      'a certificate that is new and not fit',
      { certificates: [{ file: 'a.crt', beginsAt: null, endsAt: null, reason: 'is no pair' }] },
      'amber',
      'GatewayCertificateRefused',
      /It is not used. is no pair/,
    ],
    [
      'a key file that was refused',
      { keys: { state: 'outdated', reason: '/run/key: cannot be read (ENOENT)' } },
      'amber',
      'GatewayKeysNotLoaded',
      /ENOENT/,
    ],
    [
      'error pages that were refused',
      { errorPages: ['502.html:3:4: : holds a script'] },
      'amber',
      'GatewayErrorPagesRefused',
      /502.html:3:4: holds a script/,
    ],
    [
      'a routing file that was refused',
      {
        routing: {
          ...goodStatus().routing!,
          problems: [{ line: 3, column: 5, pointer: '/routes', message: 'found "x"' }],
        },
      },
      'amber',
      'GatewayConfigReloadFailed',
      /Line 3, column 5: found "x"/,
    ],
  ]

for (const [what, symptoms, severity, section, said] of CASES) {
  t.test(`${what} is told, with a section of the manual that ends with what to run`, async (t) => {
    const found = problemsOf(symptoms)
    t.match(found, [{ severity, section, detail: said }])
    t.equal(found.length, 1)
    t.match(manualSection(section), /\*\*Run\*\* `/)
  })
}

t.test('what affects users now comes first', async (t) => {
  const found = problemsOf({
    causes: [{ reason: 'draining', cause: 'a signal' }],
    tokenStore: { up: false, code: null, reason: null, lastFailure: null },
  })
  t.same(
    found.map(({ severity }) => severity),
    ['red', 'amber'],
  )
})

t.test('it is told since when all tokens are refused', async (t) => {
  const found = problemsOf({ recent: allRefused({ token_invalid: 9 }) })
  t.match(found, [{ what: 'Every token is refused since 02:14:05 UTC' }])
})

t.test('look-ups that failed before the table was back are no alarm any more', async (t) => {
  const lastFailure = { code: 'DEADLINE', cause: 'the table was locked', agoS: 20 }
  const found = problemsOf({
    recent: recent({ decisions: { authenticated: 9, token_store_unavailable: 4 } }),
    tokenStore: { ...goodStatus().tokenStore, lastFailure },
  })
  t.match(found, [{ severity: 'amber', what: 'Look-ups failed in the last minute' }])
})

t.test('while the table cannot be queried it is said once', async (t) => {
  const found = problemsOf({
    recent: recent({ decisions: { token_store_unavailable: 4 } }),
    tokenStore: { ...goodStatus().tokenStore, up: false, code: '57P03', reason: 'the server starts up' },
  })
  t.match(found, [{ section: 'GatewayTokenStoreDown' }])
  t.equal(found.length, 1)
})

const QUIET: [what: string, symptoms: Partial<Symptoms>][] = [
  ['few failures', { recent: recent({ failures: { 'api http://a': 1 } }) }],
  ['few refusals', { recent: allRefused({ token_invalid: 2 }) }],
  ['refusals of a few seconds', { recent: allRefused({ token_invalid: 20 }, 4000) }],
  [
    'a few failures among many answers',
    {
      upstreams: TWO,
      recent: recent({
        answers: { 'api http://a': 90, 'api http://b': 88 },
        failures: { 'api http://b': 9 },
      }),
    },
  ],
  ['failures of another upstream', { recent: recent({ failures: { 'other http://10.0.0.1:8000': 9 } }) }],
  [
    'one slow report among quick answers',
    {
      upstreams: [upstreamStatus({ targets: [A], late: 1, longestWaitS: 9 })],
      recent: recent({ answers: { 'api http://a': 20 }, slow: { api: 1 } }),
    },
  ],
  ['some requests that wait', { upstreams: [upstreamStatus({ pending: 100, maxPending: 1024 })] }],
  ['a collection of garbage', { processes: processes({ heldUpMs: 500 }) }],
  [
    'a certificate of a month',
    { certificates: [{ file: 'a', beginsAt: null, endsAt: '2027-01-01', reason: null }] },
  ],
  [
    'failures of an hour ago',
    {
      tokenStore: {
        ...goodStatus().tokenStore,
        lastFailure: { code: 'DEADLINE', cause: 'late', agoS: 3600 },
      },
    },
  ],
]

for (const [what, symptoms] of QUIET) {
  t.test(`nothing is wrong: ${what}`, async (t) => {
    t.same(problemsOf(symptoms), [])
  })
}

t.test('of a dead backend it is said once that it does not answer, not that it is slow too', async (t) => {
  const found = problemsOf({
    upstreams: [upstreamStatus({ targets: [A], late: 5, longestWaitS: 9 })],
    recent: recent({ failures: { 'api http://a': 9 }, slow: { api: 9 } }),
  })
  t.equal(found.length, 1)
  t.match(found, [{ section: 'GatewayUpstreamFailing' }])
})
