import type { LookupOptions } from 'node:dns'
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { SILENT_LOG } from '../../gateway/core/log.ts'
import { systemScheduler } from '../../gateway/core/scheduler.ts'
import type { Address, Resolution } from '../../gateway/names/address.ts'
import { createNames } from '../../gateway/names/names.ts'
import { createSystemLookup } from '../../gateway/names/system-lookup.ts'
import { type NameRecord, startNameServer } from '../support/name-server.ts'

async function setUp(
  t: Test,
  records: Readonly<Record<string, NameRecord>>,
  options: { readonly hosts?: string; readonly nameServiceSwitch?: string } = {},
) {
  const server = await startNameServer(records)
  const folder = mkdtempSync(join(tmpdir(), 'names-'))
  const files = {
    hosts: join(folder, 'hosts'),
    resolverSettings: join(folder, 'resolv.conf'),
    nameServiceSwitch: join(folder, 'nsswitch.conf'),
  }
  writeFileSync(files.hosts, options.hosts ?? '127.0.0.1 localhost\n')
  writeFileSync(files.resolverSettings, `nameserver ${server.server}\n`)
  writeFileSync(files.nameServiceSwitch, options.nameServiceSwitch ?? 'hosts: files dns\n')
  let skippedMs = 0
  const bySystem: string[] = []
  const state = { bySystem: { kind: 'none' } as Resolution }
  const names = createNames({
    scheduler: { ...systemScheduler, now: () => systemScheduler.now() + skippedMs },
    log: SILENT_LOG,
    files,
    platform: 'linux',
    hostname: 'box',
    resolveBySystem: async (name) => {
      bySystem.push(name)
      return state.bySystem
    },
  })
  t.teardown(() => {
    names.close()
    server.close()
    rmSync(folder, { recursive: true })
  })
  const found = (host: string, wanted: LookupOptions = {}) =>
    new Promise<Address[]>((resolve, reject) =>
      names.lookup(host, { ...wanted, all: true }, (error, addresses) =>
        error === null ? resolve(addresses as Address[]) : reject(error),
      ),
    )
  return {
    server,
    names,
    files,
    state,
    bySystem,
    get: async (host: string, wanted?: LookupOptions) =>
      (await found(host, wanted)).map(({ address }) => address).join(' '),
    skip: (ms: number) => {
      skippedMs += ms
    },
  }
}

t.test('a caller that asks for one address gets the next one', async (t) => {
  const { names } = await setUp(t, { 'api.test': { addresses: ['10.0.0.1', '10.0.0.2'] } })
  const one = () =>
    new Promise((resolve) =>
      names.lookup('api.test', {}, (_error, address, family) => resolve([address, family])),
    )
  t.same(await one(), ['10.0.0.1', 4])
  t.same(await one(), ['10.0.0.2', 4])
})

t.test('no name server is asked for addresses and for names in the hosts file', async (t) => {
  const { get, server } = await setUp(t, {}, { hosts: '10.0.0.1 API.internal\nfd00::1 api.internal\n' })
  t.equal(await get('10.0.0.9'), '10.0.0.9')
  t.equal(await get('fd00::9'), 'fd00::9')
  t.equal(await get('api.INTERNAL'), '10.0.0.1 fd00::1')
  t.equal(await get('api.internal.'), '10.0.0.1 fd00::1')
  t.equal(await get('api.internal', { family: 6 }), 'fd00::1')
  t.equal(await get('shop.localhost'), '127.0.0.1 ::1')
  t.same(server.questions, [])
})

t.test(
  'addresses in the hosts file are all that there are; those of name servers may become more',
  async (t) => {
    const { names } = await setUp(
      t,
      { 'api.test': { addresses: ['10.0.0.2'], silent: 'AAAA' } },
      { hosts: '10.0.0.1 db\n' },
    )
    t.same(await names.findAddresses('DB'), { addresses: [{ address: '10.0.0.1', family: 4 }], later: null })
    t.same(await names.findAddresses('::1'), { addresses: [{ address: '::1', family: 6 }], later: null })
    const { addresses, later } = await names.findAddresses('api.test')
    t.same(addresses, [{ address: '10.0.0.2', family: 4 }])
    t.ok(later instanceof Promise)
  },
)

t.test('a caller that asks for one family gets no address of the other', async (t) => {
  const { get } = await setUp(t, { 'api.test': { addresses: ['10.0.0.1', 'fd00::1'] } })
  t.equal(await get('api.test', { family: 4 }), '10.0.0.1')
  t.equal(await get('api.test', { family: 'IPv6' }), 'fd00::1')
})

t.test('errors have the codes of node:dns', async (t) => {
  const { get } = await setUp(t, { 'servfail.test': { code: 'SERVFAIL' } })
  await t.rejects(get('none.test'), { code: 'ENOTFOUND', hostname: 'none.test' })
  await t.rejects(get('servfail.test'), {
    code: 'EAI_AGAIN',
    message: /servfail\.test could not be resolved/,
  })
})

t.test('an international name is looked up in its ASCII form', async (t) => {
  const { get } = await setUp(t, { 'xn--bcher-kva.test': { addresses: ['10.0.0.1'] } })
  t.equal(await get('Bücher.test'), '10.0.0.1')
})

t.test('a changed hosts file is read again, also where it is replaced by rename', async (t) => {
  const { get, files, skip } = await setUp(t, {}, { hosts: '10.0.0.1 db\n' })
  t.equal(await get('db'), '10.0.0.1')
  writeFileSync(`${files.hosts}.new`, '10.0.0.2 db\n')
  renameSync(`${files.hosts}.new`, files.hosts)
  skip(1000)
  t.equal(await get('db'), '10.0.0.2')
})

t.test('no name is lost while the hosts file is empty for a moment, as it is written in place', async (t) => {
  const { get, files, skip } = await setUp(t, {}, { hosts: '10.0.0.1 db\n' })
  writeFileSync(files.hosts, '')
  skip(1000)
  t.equal(await get('db'), '10.0.0.1')
  writeFileSync(files.hosts, '10.0.0.2 db\n')
  skip(1000)
  t.equal(await get('db'), '10.0.0.2')
  writeFileSync(files.hosts, '')
  skip(1000)
  t.equal(await get('db'), '10.0.0.2')
  skip(1000)
  await t.rejects(get('db'), { code: 'ENOTFOUND' })
})

t.test('a changed resolv.conf is read again (a VPN, DHCP)', async (t) => {
  const { get, files, skip } = await setUp(t, { 'api.test': { addresses: ['10.0.0.1'], ttl: 1 } })
  const second = await startNameServer({ 'db.corp.test': { addresses: ['10.0.0.2'] } })
  t.teardown(() => second.close())
  await t.rejects(get('db'), { code: 'ENOTFOUND' })
  writeFileSync(files.resolverSettings, `nameserver ${second.server}\nsearch corp.test\n`)
  skip(1000)
  t.equal(await get('db'), '10.0.0.2')
})

t.test('getaddrinfo is never asked where nsswitch.conf lists only files and dns', async (t) => {
  const { get, bySystem } = await setUp(t, {})
  await t.rejects(get('printer.local'), { code: 'ENOTFOUND' })
  t.same(bySystem, [])
})

t.test(
  'getaddrinfo is asked for names that no name server has where nsswitch.conf lists another source',
  async (t) => {
    const { get, bySystem, state } = await setUp(
      t,
      { 'api.test': { addresses: ['10.0.0.1'] } },
      { nameServiceSwitch: 'hosts: files mdns4_minimal [NOTFOUND=return] dns' },
    )
    await t.rejects(get('none.local'), { code: 'ENOTFOUND' })
    state.bySystem = {
      kind: 'found',
      answers: {
        4: { kind: 'addresses', addresses: ['10.0.0.7'], ttlMs: 30_000 },
        6: { kind: 'none', nameExists: true },
      },
      late: null,
    }
    t.equal(await get('printer.local'), '10.0.0.7')
    t.equal(await get('api.test'), '10.0.0.1')
    t.same(bySystem, ['none.local', 'printer.local'])
  },
)

t.test(
  'getaddrinfo is not asked for a name that no server answers, since that would hold its thread',
  async (t) => {
    const { get, names, bySystem } = await setUp(
      t,
      { 'silent.test': { silent: 'all' } },
      { nameServiceSwitch: 'hosts: files ldap dns' },
    )
    const waiting = t.rejects(get('silent.test'), { code: 'EAI_AGAIN' })
    await new Promise((resolve) => setTimeout(resolve, 100))
    names.close()
    await waiting
    t.same(bySystem, [])
  },
)

/** A getaddrinfo that the test answers. */
function setUpSystem() {
  const calls: { readonly name: string; readonly answer: PromiseWithResolvers<Address[]> }[] = []
  const state = { now: 0 }
  const resolve = createSystemLookup({
    now: () => state.now,
    lookup(name) {
      const answer = Promise.withResolvers<Address[]>()
      calls.push({ name, answer })
      return answer.promise
    },
  })
  return {
    resolve,
    asked: () => calls.map(({ name }) => name).join(' '),
    answer: (n: number) => calls[n]!.answer.resolve([{ address: '10.0.0.1', family: 4 }]),
    deny: (n: number) =>
      calls[n]!.answer.reject(Object.assign(new Error('getaddrinfo ENOTFOUND'), { code: 'ENOTFOUND' })),
    skip: (ms: number) => {
      state.now += ms
    },
  }
}

t.test('getaddrinfo is asked for two names at a time, so it holds two threads at most', async (t) => {
  const { resolve, asked, answer, deny } = setUpSystem()
  const results = ['a.local', 'b.local', 'c.local'].map(resolve)
  t.equal(asked(), 'a.local b.local')
  deny(0)
  t.same(await results[0], { kind: 'none' })
  t.equal(asked(), 'a.local b.local c.local')
  answer(2)
  t.match(await results[2], {
    kind: 'found',
    answers: { 4: { addresses: ['10.0.0.1'] }, 6: { kind: 'none' } },
  })
})

t.test('names that getaddrinfo has been slow for hold up each other, and no other name', async (t) => {
  const { resolve, asked, answer, deny, skip } = setUpSystem()
  const slow = ['x.local', 'y.local'].map(resolve)
  skip(5000)
  deny(0)
  deny(1)
  await Promise.all(slow)
  const again = ['x.local', 'y.local'].map(resolve)
  for (const [n, name] of ['a.local', 'b.local', 'c.local'].entries()) {
    const result = resolve(name)
    answer(3 + n)
    t.match(await result, { kind: 'found' })
  }
  t.equal(asked(), 'x.local y.local x.local a.local b.local c.local')
  answer(2)
  await again[0]
  t.equal(asked(), 'x.local y.local x.local a.local b.local c.local y.local')
})

t.test('a name that is prepared is looked up once, and known when it is needed', async (t) => {
  const { names, server, get } = await setUp(t, { 'api.test': { addresses: ['10.0.0.1', '10.0.0.2'] } })
  names.prepare('API.test')
  names.prepare('10.0.0.9')
  names.prepare('localhost')
  t.equal(await get('api.test'), '10.0.0.1 10.0.0.2', 'and begins with the first address')
  t.same(server.questions.toSorted(), ['api.test A', 'api.test AAAA'])
})
