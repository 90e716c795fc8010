import t from 'tap'
import type { Sample } from '../../gateway/admin/history.ts'
import { findProblems, type Symptoms } from '../../gateway/admin/problems.ts'
import { headings } from '../support/repository.ts'
import { goodStatus, targetStatus } from '../support/status-stage.ts'

function sample(more: Partial<Sample>): Sample {
  return {
    at: 0,
    requestsPerSecond: 1,
    errorShare: 0,
    p50Ms: 1,
    p99Ms: 1,
    lookupsPerQuery: 1,
    inFlight: 0,
    decisions: {},
    answers: {},
    failures: {},
    ...more,
  }
}

function problemsOf(symptoms: Partial<Symptoms>) {
  return findProblems({ ...goodStatus(), recent: [], ...symptoms })
}

const DOWN = targetStatus({ state: 'unhealthy', reason: 'the check was answered with 500' })

t.test('of a gateway that is well there is nothing to say', async (t) => {
  t.same(problemsOf({ recent: [sample({ decisions: { authenticated: 9, token_expired: 3 } })] }), [])
})

const CASES: [what: string, symptoms: Partial<Symptoms>, severity: string, section: string, said: RegExp][] =
  [
    [
      'a token store that is down',
      { tokenStore: { up: false, code: '57P03', reason: 'the server starts up' } },
      'red',
      'GatewayTokenStoreDown',
      /the server starts up/,
    ],
    [
      'a missing key',
      { causes: [{ reason: 'keys', cause: 'there is no key yet' }] },
      'red',
      'GatewayNotReady',
      /there is no key yet/,
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
      { recent: [sample({ decisions: { authenticated: 90, token_store_unavailable: 4 } })] },
      'red',
      'GatewayTokenLookupsFailing',
      /^4 requests/,
    ],
    [
      'tokens that are all refused',
      { recent: [sample({ decisions: { token_invalid: 4 } }), sample({ decisions: { token_invalid: 5 } })] },
      'red',
      'GatewayTokensInvalid',
      /9 of 9, most as token_invalid/,
    ],
    [
      'an upstream without a target that is up',
      { upstreams: [{ name: 'api', balance: 'round-robin', targets: [DOWN] }] },
      'red',
      'GatewayUpstreamDown',
      /answered with 500/,
    ],
    [
      'one of two targets that is down',
      { upstreams: [{ name: 'api', balance: 'round-robin', targets: [DOWN, targetStatus()] }] },
      'amber',
      'GatewayUpstreamTargetDown',
      /answered with 500/,
    ],
    [
      'an upstream that does not answer, without health checks',
      { recent: [sample({ answers: { api: 6 }, failures: { api: 4 } })] },
      'red',
      'GatewayUpstreamFailing',
      /4 of the last minute's 10/,
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
      /line 3, column 5: found "x"/,
    ],
  ]

for (const [what, symptoms, severity, section, said] of CASES) {
  t.test(`${what} is told, with the section of the manual`, async (t) => {
    const found = problemsOf(symptoms)
    t.match(found, [{ severity, section, detail: said }])
    t.equal(found.length, 1)
    t.ok(headings('docs/operating.md', 3).includes(section))
  })
}

t.test('what affects users now comes first', async (t) => {
  const found = problemsOf({
    causes: [{ reason: 'draining', cause: 'a signal' }],
    tokenStore: { up: false, code: null, reason: null },
  })
  t.same(
    found.map(({ severity }) => severity),
    ['red', 'amber'],
  )
})

t.test('few requests are no sign of anything', async (t) => {
  t.same(problemsOf({ recent: [sample({ decisions: { token_invalid: 2 }, failures: { api: 2 } })] }), [])
})
