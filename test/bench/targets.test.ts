import t from 'tap'
import { ALL, chooseContenders } from '../../bench/contenders/all.ts'
import type { Machine } from '../../bench/machine.ts'
import type { Measured } from '../../bench/rounds.ts'
import { type Ratio, ratiosOf } from '../../bench/targets.ts'

/** @param cpuUs CPU time of a request by a contender's name, in each round */
function ratiosFor(cpuUs: Readonly<Record<string, readonly number[]>>): Ratio[] {
  const rounds = Object.entries(cpuUs).map(([name, values]) => {
    const contender = ALL.find((each) => each.name === name)!
    return [contender, values.map((value): Measured => ({ ...NOTHING, cpuUs: value }))] as const
  })
  return ratiosOf(new Map(rounds))
}

const NOTHING = { requestsPerS: 0, cpuUs: 0, postgresUs: 0, p50Ms: 0, p99Ms: 0, p999Ms: 0, rssMiB: 0 }

const MACHINE: Machine = {
  cores: 2,
  cpu: 'any',
  memoryGiB: 1,
  node: 'v26',
  postgres: '18',
  nginx: '1.22.1',
  go: '1.19.8',
  loadGenerator: 'wrk',
}

t.test("the gateway's CPU is divided by the floor's and has to be at most the target", async (t) => {
  for (const [gateway, verdict] of [
    [60, 'met'],
    [61, 'NOT MET'],
  ] as const) {
    const [ratio] = ratiosFor({ gateway: [gateway], floor: [50] })
    t.match(ratio, { value: gateway / 50, target: 'at most 1.2', verdict })
  }
})

t.test("another contender's CPU is divided by the gateway's and has to be at least the target", async (t) => {
  for (const [other, verdict] of [
    [180, 'met'],
    [179, 'NOT MET'],
  ] as const) {
    const [ratio] = ratiosFor({ gateway: [50], 'go-reverse-proxy-auth': [other] })
    t.match(ratio, { value: other / 50, target: 'at least 3.6', verdict })
  }
})

t.test('what a look-up adds is the gateway less the gateway that asks for no session', async (t) => {
  const ratios = ratiosFor({ gateway: [60], 'gateway-none': [45], floor: [50] })
  t.match(
    ratios.find(({ of }) => of === 'what a look-up adds'),
    { value: 0.3, target: 'at most 0.3', verdict: 'met' },
  )
})

t.test('a ratio is that of the medians and has the extremes of the single rounds beside it', async (t) => {
  const [ratio] = ratiosFor({ gateway: [50, 60, 80], floor: [50, 40, 100] })
  t.match(ratio, { value: 60 / 50, rounds: { min: 0.8, max: 1.5 } })
})

t.test('a contender that authenticates nobody is compared without a target', async (t) => {
  const [ratio] = ratiosFor({ 'gateway-none': [50], 'go-reverse-proxy': [100] })
  t.match(ratio, { value: 2, target: '', verdict: '' })
})

t.test('a comparison with a contender that did not run is left out', async (t) => {
  t.same(ratiosFor({ gateway: [50], nginx: [20] }), [])
})

t.test('every contender but the floor is compared with another', async (t) => {
  const compared = ratiosFor(Object.fromEntries(ALL.map(({ name }) => [name, [1]]))).map(({ of }) => of)
  for (const { name, title } of ALL) if (name !== 'floor') t.ok(compared.includes(title), title)
})

t.test('without Go only its contenders are left out', async (t) => {
  const chosen = chooseContenders(null, { ...MACHINE, go: null })
  t.same(
    ALL.filter((each) => !chosen.includes(each)).map(({ name }) => name),
    ['go-reverse-proxy', 'go-reverse-proxy-auth', 'go-reverse-proxy-auth-tuned'],
  )
})
