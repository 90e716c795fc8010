import t from 'tap'
import { rowOf, tableOf } from './report.ts'
import type { SetUp } from './set-ups.ts'

const SET_UP: SetUp = { name: 'HAProxy', role: 'fleet', gateways: [] }
const OTHER: SetUp = { ...SET_UP, name: 'other' }
const PERIOD = { fault: 'switchover', from: 1000, to: 5000, newPrimaryAt: 3000 }

function seen(tokenId: string, began: number, status: number, setUp = SET_UP) {
  return { setUp, tokenId, began, ended: began + 10, status }
}

const history = {
  good: new Set(['good']),
  revocations: new Map([
    ['revoked', 2000],
    ['unknown', null],
  ]),
  seen: [
    seen('good', 500, 503),
    seen('good', 1500, 200),
    seen('revoked', 1990, 200),
    seen('revoked', 2300, 200),
    seen('unknown', 2300, 200),
    seen('revoked', 2300, 200, OTHER),
    seen('good', 2500, 503),
    seen('revoked', 3100, 401),
    seen('good', 3390, 200),
    seen('good', 4000, 401),
    seen('good', 4890, 200),
  ],
}

t.test('a request is stale only where it began after its revocation had returned', async (t) => {
  const row = rowOf(PERIOD, SET_UP, history, 4)
  t.same(row.staleMs, [300])
  t.equal(row.wrong, 1, 'a good token was refused')
  t.same(Object.fromEntries(row.statuses), { 200: 6, 401: 2, 503: 1 }, 'of the period and the set-up')
  t.same([row.withoutMs, row.backMs], [1890, 400])
})

t.test('the table says that nothing was served again, and that there was no new primary', async (t) => {
  const only = { ...history, seen: [seen('good', 2500, 503)] }
  t.match(tableOf([rowOf(PERIOD, SET_UP, only, 4)]), '| 4.0 s | never | 1 × 503 | 0 | 4 |')
  const none = { ...PERIOD, newPrimaryAt: null }
  t.match(tableOf([rowOf(none, SET_UP, history, 4)]), /\| – \| 6 × 200, .* \| 1, up to 0\.3 s \| 4 \|/)
})
