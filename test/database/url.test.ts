import t from 'tap'
import { parseDatabaseUrl } from '../../gateway/database/url.ts'
import { readSettings } from '../../gateway/settings/settings.ts'

const read = (query: string) => parseDatabaseUrl(`postgres://u:p@a:5432,b/db?${query}`)

for (const [query, expected] of [
  ['sslmode=verify-full', { tls: { mode: 'verify-full' } }],
  ['ssl=true', { tls: { mode: 'verify-full' } }],
  ['ssl=false', { tls: { mode: 'disable' } }],
  ['uselibpqcompat=true&sslmode=require', { tls: { mode: 'require' } }],
  ['sslmode=require&sslnegotiation=direct', { tls: { mode: 'require', direct: true } }],
  ['sslmode=require&sslsni=0', { tls: { sendsName: false } }],
  [
    'sslmode=require&ssl_min_protocol_version=TLSv1.3&ssl_max_protocol_version=TLSv1.3',
    { tls: { minVersion: 'TLSv1.3', maxVersion: 'TLSv1.3' } },
  ],
  ['application_name=shop', { applicationName: 'shop' }],
  ['fallback_application_name=shop', { applicationName: 'shop' }],
  ['application_name=shop&fallback_application_name=other', { applicationName: 'shop' }],
  ['connect_timeout=1', { connectTimeoutMs: 2000 }],
  ['connect_timeout=0', { connectTimeoutMs: null }],
  ['pgbouncer=true', { prepare: false }],
  ['statement_cache_size=0', { prepare: false }],
  ['schema=auth', { schema: 'auth', parameters: {} }],
  ['options=-c%20search_path%3Dauth', { parameters: { options: '-c search_path=auth' } }],
  ['search_path=auth&app.user=gateway', { parameters: { search_path: 'auth', 'app.user': 'gateway' } }],
  ['target_session_attrs=primary&gssencmode=prefer&channel_binding=prefer', { parameters: {} }],
] as const) {
  t.test(`the parameters "${query}" are obeyed`, async (t) => {
    const address = read(query)
    t.same(address.problems, [])
    t.match(address, expected)
  })
}

for (const [query, expected] of [
  [
    'sslmode=verify_full',
    /sslmode is "verify_full"; expected disable, prefer, require, verify-ca, verify-full/,
  ],
  ['channel_binding=require', /channel_binding is .*write sslmode=verify-full/],
  ['gssencmode=require', /gssencmode is .*write sslmode=verify-full/],
  ['uselibpqcompat=false', /uselibpqcompat is .*write sslmode=verify-full/],
  ['sslaccept=strict', /"sslaccept" is not read; expected sslmode=verify-full/],
  ['sslrootcert=/ca.pem', /"sslrootcert" is not read; .*NODE_EXTRA_CA_CERTS/],
  ['sslcert=/c.pem', /"sslcert" is not read; client certificates are not supported/],
  ['sslnegotiation=direct', /sslnegotiation is "direct"; expected sslmode=require/],
  ['target_session_attrs=standby', /target_session_attrs is .*only the primary is asked/],
  ['load_balance_hosts=random', /load_balance_hosts is .*in their order/],
  ['connection_limit=5', /"connection_limit" is not read; .*DATABASE_POOL_SIZE/],
  ['pool_timeout=5', /"pool_timeout" is not read; .*LOOKUP_TIMEOUT_MS/],
  ['keepalives_idle=5', /"keepalives_idle" is not read; .*LOOKUP_TIMEOUT_MS/],
  ['statement_cache_size=100', /statement_cache_size is "100"; expected 0/],
  ['host=/run/postgresql', /"host" is not read; .*postgres:\/\/%2Frun%2Fpostgresql/],
  ['password=x', /"password" is not read; expected it in postgres:\/\/user:password@/],
  ['TimeZone=Europe/Berlin', /"TimeZone" is not read; sessions run in UTC/],
  ['client_encoding=LATIN1', /client_encoding is .*UTF-8/],
  ['connect_timeout=soon', /connect_timeout is "soon"; expected whole seconds/],
  ['prepareThreshold=0', /"prepareThreshold" is not read; .*DATABASE_PREPARE/],
  ['sslmod=require', /"sslmod" is not known; leave it out/],
  ['constructor=1', /"constructor" is not known/],
  ['sslmode=require&sslmode=disable', /"sslmode" is given twice/],
] as const) {
  t.test(`the parameters "${query}" are a problem that names them`, async (t) => {
    const { problems } = read(query)
    t.equal(problems.length, 1)
    t.match(problems[0], expected)
  })
}

t.test(
  "the URL's schema parameter (Prisma) is the token table's schema, unless TOKEN_TABLE names one",
  async (t) => {
    const env = {
      DATABASE_URL: 'postgres://u@a/db?schema=app',
      JWT_SECRET: 'x'.repeat(32),
      NODE_ENV: 'production',
    }
    const tableOf = (more: Record<string, string>) => {
      const result = readSettings({ ...env, ...more })
      if (!result.ok) throw new Error(result.problems.join())
      return result.settings.tokenTable
    }
    t.same(tableOf({}), { schema: 'app', name: 'Token' })
    t.same(tableOf({ TOKEN_TABLE: 'auth.tokens' }), { schema: 'auth', name: 'tokens' })
  },
)

t.test('a start with unsupported URL parameters names each of them, and never the password', async (t) => {
  const result = readSettings({
    DATABASE_URL: 'postgres://u:hunter2@a/db?channel_binding=require&connection_limit=5',
    JWT_SECRET: 'x'.repeat(32),
  })
  if (result.ok) throw new Error('it was taken')
  t.match(result.problems, [/channel_binding.*connection_limit/])
  t.notMatch(result.problems.join(), 'hunter2')
})
