import t, { type Test } from 'tap'
import type { Address, Answers, Family, FamilyAnswer, Resolution } from '../../gateway/names/address.ts'
import { createAddressCache } from '../../gateway/names/address-cache.ts'
import { createFakeScheduler } from '../support/fake-scheduler.ts'

const NONE: FamilyAnswer = { kind: 'none', nameExists: true }
const v4 = (addresses: string[], ttlMs = 30_000): FamilyAnswer => ({ kind: 'addresses', addresses, ttlMs })
const DAY_MS = 86_400_000
const SILENT: Resolution = { kind: 'failed', silent: true, cause: new Error('queryA ETIMEOUT api.test') }

function found(answer: FamilyAnswer, six: FamilyAnswer | null = NONE, late: Promise<Answers> | null = null) {
  return { kind: 'found', answers: { 4: answer, 6: six }, late } satisfies Resolution
}

function setUp(_t: Test, first: Resolution = found(v4(['10.0.0.1']))) {
  const scheduler = createFakeScheduler()
  const asked: string[] = []
  const lines: string[] = []
  const state = { answer: first as Resolution | Promise<Resolution> }
  const cache = createAddressCache({
    scheduler,
    resolve: async (name) => {
      asked.push(name)
      return state.answer
    },
    log: {
      info: (_fields, message) => void lines.push(message),
      warn: (_fields, message) => void lines.push(message),
      error: (_fields, message) => void lines.push(message),
    },
  })
  const get = async (name = 'api.test', family: 0 | Family = 0) =>
    listed(await cache.addressesOf(name, family))
  return { scheduler, asked, lines, state, cache, get }
}

const listed = (addresses: readonly Address[]) => addresses.map(({ address }) => address).join(' ')
const settle = () => new Promise((resolve) => setImmediate(resolve))

t.test('each call returns all addresses and puts the next one first', async (t) => {
  const { get, asked } = setUp(t, found(v4(['10.0.0.1', '10.0.0.2', '10.0.0.3'])))
  t.equal(await get(), '10.0.0.1 10.0.0.2 10.0.0.3')
  t.equal(await get(), '10.0.0.2 10.0.0.3 10.0.0.1')
  t.equal(await get(), '10.0.0.3 10.0.0.1 10.0.0.2')
  t.equal(await get(), '10.0.0.1 10.0.0.2 10.0.0.3')
  t.equal(asked.length, 1)
})

t.test('callers that need a name at the same time share one look-up', async (t) => {
  const { cache, asked, state } = setUp(t)
  const answer = Promise.withResolvers<Resolution>()
  state.answer = answer.promise
  const all = [0, 4, 0, 6, 0].map((family) =>
    cache.addressesOf('api.test', family as 0 | Family).then(listed),
  )
  answer.resolve(found(v4(['10.0.0.1']), v4(['fd00::1'])))
  t.same((await Promise.all(all)).toSorted(), [
    '10.0.0.1',
    '10.0.0.1 fd00::1',
    'fd00::1',
    'fd00::1 10.0.0.1',
    'fd00::1 10.0.0.1',
  ])
  t.equal(asked.length, 1)
})

t.test('addresses are used for their time to live, at most 30 s and at least 1 s', async (t) => {
  for (const [ttlMs, countsMs] of [
    [5000, 5000],
    [0, 1000],
    [86_400_000, 30_000],
  ] as const) {
    const { get, asked, scheduler } = setUp(t, found(v4(['10.0.0.1'], ttlMs)))
    await get()
    await scheduler.advance(countsMs - 1)
    await get()
    t.equal(asked.length, 1, `${ttlMs}`)
    await scheduler.advance(1)
    await get()
    t.equal(asked.length, 2, `${ttlMs}`)
  }
})

t.test('expired addresses are returned at once while new ones are looked up', async (t) => {
  const { get, asked, state, scheduler } = setUp(t)
  await get()
  await scheduler.advance(30_000)
  const answer = Promise.withResolvers<Resolution>()
  state.answer = answer.promise
  t.same(await Promise.all([get(), get(), get()]), ['10.0.0.1', '10.0.0.1', '10.0.0.1'])
  t.equal(asked.length, 2)
  answer.resolve(found(v4(['10.0.0.9'])))
  await settle()
  t.equal(await get(), '10.0.0.9')
})

t.test('addresses that have not been used lately are looked up again before they are returned', async (t) => {
  const { get, state, scheduler } = setUp(t)
  await get()
  await scheduler.advance(3_600_000)
  state.answer = found(v4(['10.0.0.9']))
  t.equal(await get(), '10.0.0.9')
})

t.test(
  'addresses that have not been used lately wait for a slow resolver at most 250 ms, once',
  async (t) => {
    const { get, state, scheduler } = setUp(t)
    await get()
    await scheduler.advance(3_600_000)
    const answer = Promise.withResolvers<Resolution>()
    state.answer = answer.promise
    const waiting = get()
    await settle()
    t.same(scheduler.due, [250])
    await scheduler.advance(250)
    t.equal(await waiting, '10.0.0.1')
    t.equal(await get(), '10.0.0.1')
    answer.resolve(SILENT)
    await settle()
    await scheduler.advance(3_600_000)
    state.answer = new Promise(() => {})
    t.equal(await get(), '10.0.0.1', 'a resolver that is known to fail is not waited for')
  },
)

t.test('known addresses stay in use while no server answers, which is logged once', async (t) => {
  const { get, state, scheduler, lines } = setUp(t)
  await get()
  state.answer = SILENT
  for (let n = 0; n < 20; n++) {
    await scheduler.advance(60_000)
    t.equal(await get(), '10.0.0.1')
    await settle()
  }
  t.same(lines, ['name could not be resolved; its last addresses stay in use'])
  state.answer = found(v4(['10.0.0.9']))
  await scheduler.advance(60_000)
  await get()
  await settle()
  t.equal(await get(), '10.0.0.9')
  t.equal(lines.at(-1), 'name resolved again')
})

t.test(
  'a name that cannot be resolved is looked up again after 1, 2, 4, 8 and then every 10 s',
  async (t) => {
    const { get, state, scheduler, asked } = setUp(t)
    await get()
    state.answer = SILENT
    await scheduler.advance(30_000)
    await get()
    await settle()
    for (const pauseMs of [1000, 2000, 4000, 8000, 10_000, 10_000]) {
      const before = asked.length
      await scheduler.advance(pauseMs - 1)
      await get()
      t.equal(asked.length, before, `not before ${pauseMs}`)
      await scheduler.advance(1)
      await get()
      await settle()
      t.equal(asked.length, before + 1, `after ${pauseMs}`)
    }
  },
)

t.test('a name that does not exist for a moment, as in a rollout, keeps its addresses', async (t) => {
  const { get, state, scheduler } = setUp(t)
  await get()
  state.answer = { kind: 'none' }
  await scheduler.advance(30_000)
  await get()
  for (let s = 0; s < 55; s++) {
    await scheduler.advance(1000)
    t.equal(await get(), '10.0.0.1')
    await settle()
  }
})

t.test('a name that does not exist for more than a minute loses its addresses: ENOTFOUND', async (t) => {
  const { get, state, scheduler } = setUp(t)
  await get()
  state.answer = { kind: 'none' }
  await scheduler.advance(30_000)
  await get()
  for (let s = 0; s < 80; s++) {
    await scheduler.advance(1000)
    await get().catch(() => {})
    await settle()
  }
  await t.rejects(get(), { code: 'ENOTFOUND', message: 'the name api.test has no address' })
  state.answer = found(v4(['10.0.0.9']))
  await scheduler.advance(10_000)
  t.equal(await get(), '10.0.0.9')
})

t.test(
  'a family without an answer keeps its addresses while those of the other family are replaced',
  async (t) => {
    const { get, state, scheduler } = setUp(t, found(v4(['10.0.0.1']), v4(['fd00::1'])))
    await get()
    state.answer = found(v4(['10.0.0.9']), null, new Promise(() => {}))
    await scheduler.advance(30_000)
    await get()
    await settle()
    t.same((await get()).split(' ').toSorted(), ['10.0.0.9', 'fd00::1'])
  },
)

t.test('the answer of the slower family is used when it comes', async (t) => {
  const late = Promise.withResolvers<Answers>()
  const { get } = setUp(t, found(v4(['10.0.0.1']), null, late.promise))
  t.equal(await get(), '10.0.0.1')
  const six = get('api.test', 6)
  late.resolve({ 4: v4(['10.0.0.1']), 6: v4(['fd00::1']) })
  t.equal(await six, 'fd00::1', 'who wants its family alone waits for it')
  t.same((await get()).split(' ').toSorted(), ['10.0.0.1', 'fd00::1'])
})

t.test('a look-up of an unknown name fails for all callers, and is not repeated for a second', async (t) => {
  const { get, asked, scheduler, state } = setUp(t, SILENT)
  const refused = { code: 'EAI_AGAIN', message: /api\.test could not be resolved \(queryA ETIMEOUT/ }
  await Promise.all([t.rejects(get(), refused), t.rejects(get(), refused)])
  await t.rejects(get(), refused)
  t.equal(asked.length, 1)
  state.answer = found(v4(['10.0.0.1']))
  await scheduler.advance(1000)
  t.equal(await get(), '10.0.0.1')
})

t.test('a thousand calls for a name that no server answers make one look-up', async (t) => {
  const { cache, asked, state } = setUp(t)
  state.answer = new Promise(() => {})
  for (let n = 0; n < 1000; n++) void cache.addressesOf('silent.test', 0)
  t.equal(asked.length, 1)
})

t.test('addresses that no name server has confirmed for a day are not used any more', async (t) => {
  const { get, state, scheduler } = setUp(t, found(v4(['10.0.0.1']), v4(['fd00::1'])))
  await get()
  state.answer = found(v4(['10.0.0.1']), { kind: 'failed', silent: true, cause: new Error('no answer') })
  await scheduler.advance(3_600_000)
  await get()
  state.answer = SILENT
  await scheduler.advance(DAY_MS - 3_600_000)
  t.same((await get()).split(' ').toSorted(), ['10.0.0.1', 'fd00::1'])
  await settle()
  await scheduler.advance(1)
  t.equal(await get(), '10.0.0.1', 'one family was confirmed an hour later')
  await scheduler.advance(3_600_000)
  await t.rejects(get(), { code: 'EAI_AGAIN' })
})

t.test(
  'a name that nobody has asked for keeps its addresses for a day, whatever is asked for meanwhile',
  async (t) => {
    const { get, state, scheduler } = setUp(t)
    await get('quiet.test')
    await scheduler.advance(DAY_MS)
    await get('new.test')
    state.answer = SILENT
    t.equal(await get('quiet.test'), '10.0.0.1')
  },
)

t.test('an answer of one family that is awaited is told of, and brings the addresses of both', async (t) => {
  const late = Promise.withResolvers<Answers>()
  const { cache } = setUp(t, found(v4(['10.0.0.1']), null, late.promise))
  const { addresses, later } = await cache.find('api.test')
  t.equal(listed(addresses), '10.0.0.1')
  late.resolve({ 4: v4(['10.0.0.1']), 6: v4(['fd00::1']) })
  t.equal(listed((await later) ?? []), 'fd00::1 10.0.0.1')
  t.equal((await cache.find('api.test')).later, null)
})

t.test('a family whose answer has failed to come once is not worth waiting for the next time', async (t) => {
  const failed: FamilyAnswer = { kind: 'failed', silent: true, cause: new Error('no answer') }
  const { cache, state, scheduler } = setUp(
    t,
    found(v4(['10.0.0.1']), null, Promise.resolve({ 4: v4(['10.0.0.1']), 6: failed })),
  )
  await (await cache.find('api.test')).later
  await scheduler.advance(30_000)
  state.answer = found(v4(['10.0.0.1']), null, new Promise(() => {}))
  await cache.find('api.test')
  await settle()
  t.equal((await cache.find('api.test')).later, null)
})

t.test(
  'new addresses that are asked for are told of for 250 ms, unless the resolver is known to fail',
  async (t) => {
    const { cache, state, scheduler } = setUp(t)
    await cache.find('api.test')
    const answer = Promise.withResolvers<Resolution>()
    state.answer = answer.promise
    await scheduler.advance(30_000)
    const first = (await cache.find('api.test')).later
    await scheduler.advance(250)
    t.equal(listed((await first) ?? []), '10.0.0.1')
    t.equal((await cache.find('api.test')).later, null)
    answer.resolve(SILENT)
    await settle()
    state.answer = found(v4(['10.0.0.9']))
    await scheduler.advance(1000)
    t.equal((await cache.find('api.test')).later, null)
  },
)

t.test(
  'a family that is awaited for long does not make expired addresses of the other one stay',
  async (t) => {
    const { get, asked, state, scheduler } = setUp(
      t,
      found(v4(['10.0.0.1'], 1000), null, new Promise(() => {})),
    )
    await get()
    state.answer = found(v4(['10.0.0.9'], 1000), null, new Promise(() => {}))
    await scheduler.advance(1000)
    await get()
    await settle()
    t.equal(await get(), '10.0.0.9')
    t.equal(asked.length, 2)
  },
)

t.test('the family that comes later does not make the addresses of the first one last longer', async (t) => {
  const late = Promise.withResolvers<Answers>()
  const { get, asked, scheduler } = setUp(t, found(v4(['10.0.0.1'], 5000), null, late.promise))
  await get()
  await scheduler.advance(4000)
  late.resolve({ 4: v4(['10.0.0.1'], 5000), 6: NONE })
  await settle()
  await scheduler.advance(1000)
  await get()
  t.equal(asked.length, 2)
})

t.test('a name that was not used for a day is dropped when another one is added', async (t) => {
  const { get, asked, scheduler } = setUp(t)
  await get('old.test')
  await scheduler.advance(DAY_MS + 1)
  await get('new.test')
  t.same(asked, ['old.test', 'new.test'])
  await get('old.test')
  t.same(asked, ['old.test', 'new.test', 'old.test'])
})
