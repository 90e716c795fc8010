import { readFileSync } from 'node:fs'
import { Ajv, type SchemaObject } from 'ajv'
import t from 'tap'
import { parseRoutingFile } from '../../../gateway/routing/file/routing-file.ts'

const load = (name: string) => JSON.parse(readFileSync(new URL(`../../../${name}`, import.meta.url), 'utf8'))
const schema = load('upstreams.schema.json') as SchemaObject
const validate = new Ajv({ strict: true, allErrors: true, strictTypes: false }).compile(schema)

/** The description that an editor shows for a key. */
interface Shown {
  readonly place: string
  readonly schema: SchemaObject
}

/** Every schema that a value of the file is checked against, except the branches of a union. */
function* shown(node: SchemaObject, place: string): Generator<Shown> {
  const { properties = {}, items, additionalProperties, propertyNames, anyOf = [] } = node as SchemaObject
  for (const [key, field] of Object.entries<SchemaObject>(properties)) {
    yield { place: `${place}/${key}`, schema: field }
    yield* shown(field, `${place}/${key}`)
  }
  for (const [name, inner] of Object.entries({ items, additionalProperties, propertyNames })) {
    if (typeof inner !== 'object') continue
    if (name !== 'propertyNames') yield { place: `${place}/*`, schema: inner }
    yield* shown(inner, `${place}/*`)
  }
  for (const branch of anyOf as SchemaObject[]) yield* shown(branch, place)
}

const all = [...shown(schema, '')]

t.test('every key, item and value has a description for editors', async (t) => {
  t.ok(all.length > 60)
  for (const { place, schema } of all) t.match(schema.description, /^[A-Z`].{8,}\.$/, place)
})

t.test(
  'every key has values that an editor can complete: a default, examples, alternatives or keys of its own',
  async (t) => {
    for (const { place, schema } of all) {
      if (/\/\*$/.test(place)) continue
      const offers = schema.default ?? schema.examples ?? schema.enum ?? schema.properties
      t.ok(offers !== undefined || schema.type === 'boolean', place)
    }
  },
)

t.test('every string with a format has a pattern', async (t) => {
  const free = new Set(['/$schema', '/routes/*/upstream', '/routes/*/mandates/*'])
  for (const { place, schema } of all) {
    if (schema.type === 'string' && !free.has(place)) t.ok(schema.pattern ?? schema.enum, place)
  }
})

t.test('defaults and examples are valid by the schema', async (t) => {
  for (const { place, schema } of all) {
    const judge = new Ajv({ strict: false }).compile(schema)
    for (const value of [...(schema.examples ?? []), ...('default' in schema ? [schema.default] : [])])
      t.ok(judge(value), `${place}: ${JSON.stringify(value)}`)
  }
})

t.test('no object accepts unknown keys', async (t) => {
  for (const each of [{ place: '', schema }, ...all])
    if (each.schema.properties !== undefined) t.equal(each.schema.additionalProperties, false, each.place)
})

t.test('the example file is valid by the schema', async (t) => {
  t.ok(validate(load('upstreams.example.json')), JSON.stringify(validate.errors))
})

const UPSTREAM = { targets: ['http://a'] }
const file = (route: object, upstream: object = {}, more: object = {}) => ({
  upstreams: { a: { ...UPSTREAM, ...upstream } },
  routes: [{ path: '/', upstream: 'a', ...route }],
  ...more,
})
const good = (value: unknown) => parseRoutingFile(JSON.stringify(value), '/etc/gateway/upstreams.json').ok

/** Editors must not mark a value as wrong that the code accepts. */
const TAKEN: readonly object[] = [
  file({}),
  file({ host: '*.Example.com' }),
  file({ host: '[::1]' }),
  file({ host: '10.0.0.1' }),
  file({ host: 'a_b' }),
  file({ path: "/a-b_c.~!$&'()*+,=:@%E4" }),
  file({ methods: ['M-SEARCH'], auth: 'optional', mandates: [' '], exact: true }),
  file({ loginRedirect: '/?a={path}#x' }),
  file({ loginRedirect: 'HTTPS://login.example/{path}' }),
  file({ allowedOrigins: ['http://[::1]:8080', 'https://a.example'] }),
  file({ maxBodyBytes: 0, forwardCookies: false, stripPrefix: true, refresh: 'auto' }),
  file({ requestHeaders: { set: { 'X-A': '' }, remove: [] }, responseHeaders: {} }),
  file({}, { targets: ['HTTP://A.example/', { url: 'unix:/run/a b.sock' }, 'https://[::1]:8443'] }),
  file({}, { host: 'app.internal:8443', tls: { serverName: 'a', caFile: '../ca.pem' } }),
  file({}, { host: '[::1]:80', timeouts: { connect: '1ms', idle: '1440m' }, health: { path: '/?a' } }),
  file({}, {}, { identity: { userId: 'Remote-User' }, $schema: 'https://example.com/s.json' }),
  { upstreams: {}, routes: [] },
]
for (const value of TAKEN) {
  t.test(`schema and code accept ${JSON.stringify(value)}`, async (t) => {
    t.ok(good(value), 'the code')
    t.ok(validate(value), JSON.stringify(validate.errors))
  })
}

const REFUSED: readonly unknown[] = [
  [],
  { routes: [] },
  { upstreams: {} },
  file({}, {}, { upstream: {} }),
  file({}, {}, { identity: { userId: 'a b' } }),
  file({}, {}, { identity: { user: 'X' } }),
  file({ path: 'api' }),
  file({ path: 5 }),
  file({ pth: '/' }),
  file({ host: 'a:80' }),
  file({ host: 'https://a' }),
  file({ host: 'a.*' }),
  file({ methods: [] }),
  file({ methods: ['get'] }),
  file({ auth: 'require' }),
  file({ exact: 'yes' }),
  file({ mandates: [] }),
  file({ mandates: [''] }),
  file({ allowedOrigins: ['app.example.com'] }),
  file({ allowedOrigins: ['https://a.example/'] }),
  file({ loginRedirect: '//evil.example' }),
  file({ loginRedirect: 'login' }),
  file({ loginRedirect: '/a b' }),
  file({ loginRedirect: '/a\\b' }),
  file({ refresh: true }),
  file({ maxBodyBytes: -1 }),
  file({ maxBodyBytes: 1.5 }),
  file({ requestHeaders: { set: { 'X A': 'a' } } }),
  file({ requestHeaders: { set: { 'X-A': 'a\nb' } } }),
  file({ requestHeaders: { add: {} } }),
  file({ responseHeaders: { remove: ['a:'] } }),
  file({}, { targets: [] }),
  file({}, { targets: ['ftp://a'] }),
  file({}, { targets: ['http://a/x'] }),
  file({}, { targets: ['http://user@a'] }),
  file({}, { targets: [{ url: 'http://a', weight: 0 }] }),
  file({}, { targets: [{ weight: 1 }] }),
  file({}, { balance: 'random' }),
  file({}, { host: 'a/b' }),
  file({}, { timeouts: { connect: '0s' } }),
  file({}, { timeouts: { connect: '5 s' } }),
  file({}, { timeouts: { connect: 5 } }),
  file({}, { retries: 11 }),
  file({}, { maxConnections: 0 }),
  file({}, { protocol: 'h2' }),
  file({}, { health: {} }),
  file({}, { health: { path: 'up' } }),
  file({}, { ejection: { maxPercent: 101 } }),
  file({}, { tls: { serverName: 'a:1' } }),
  file({}, { tls: { caFile: '' } }),
  { upstreams: { 'a b': UPSTREAM }, routes: [] },
]
for (const value of REFUSED) {
  t.test(`schema and code refuse ${JSON.stringify(value)}`, async (t) => {
    t.notOk(good(value), 'the code')
    t.notOk(validate(value), 'the schema')
  })
}
