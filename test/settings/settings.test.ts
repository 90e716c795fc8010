import { generateKeyPairSync } from 'node:crypto'
import t from 'tap'
import { readSettings, type SettingsResult } from '../../gateway/settings/settings.ts'
import type { Settings } from '../../gateway/settings/values.ts'

type Env = Record<string, string | undefined>

const SECRET = 'a secret that has more than enough bytes'
const DATABASE = 'postgres://gateway:hunter2@db.internal:5432/app'

function read(env: Env, files: Record<string, string> = {}): SettingsResult {
  const readFile = (path: string) => {
    const content = files[path]
    if (content === undefined) throw Object.assign(new Error('no such file'), { code: 'ENOENT' })
    return content
  }
  return readSettings(env, { readFile, cores: 6 })
}

function good(env: Env, files: Record<string, string> = {}): Settings {
  const result = read(env, files)
  if (!result.ok) throw new Error(result.problems.join('\n'))
  return result.settings
}

function problems(env: Env, files: Record<string, string> = {}): readonly string[] {
  const result = read(env, files)
  return result.ok ? [] : result.problems
}

t.test('an empty environment gives the documented defaults', async (t) => {
  t.match(good({}), {
    production: false,
    host: '0.0.0.0',
    port: 8080,
    adminHost: '127.0.0.1',
    adminPort: 9090,
    upstreamsFile: 'upstreams.json',
    databaseUrl: null,
    databasePoolSize: 4,
    databasePrepare: true,
    lookupTimeoutMs: 1000,
    lookupQueueMax: 10_000,
    tokenTable: { schema: null, name: 'Token' },
    tokenColumns: { id: 'id', userId: 'userId', sessionId: 'sessionId', mandateId: 'mandateId' },
    tokenStatuses: { admitting: 'ACTIVE', revoked: 'REVOKED' },
    keySource: null,
    jwtAlgorithms: null,
    jwtIssuer: null,
    jwtAudience: null,
    jwtClockToleranceS: 0,
    accessCookie: 'auth_token',
    refreshCookie: 'refresh_token',
    cookieSameSite: 'strict',
    cookieDomain: null,
    cookiePersistent: false,
    errorPagesDir: null,
    negativeCacheTtlUs: 0,
    negativeCacheMax: 100_000,
    gatewayPath: '/-',
    sessionEndpoints: false,
    accessTokenTtlS: 900,
    refreshTokenTtlS: 604_800,
    streamRecheckMs: 5000,
    streamFaultGraceMs: 300_000,
    revocationChannel: null,
    trustedProxies: [],
    workers: 1,
    tlsCertFile: null,
    tlsKeyFile: null,
    maxHeaderBytes: 16_384,
    headersTimeoutMs: 10_000,
    requestTimeoutMs: 300_000,
    keepAliveTimeoutMs: 65_000,
    drainDelayMs: 0,
    drainTimeoutMs: 30_000,
    logLevel: 'info',
    accessLog: 'on',
    maxConnections: 20_000,
    http2MaxStreams: 128,
  })
})

t.test('an empty variable counts as not set', async (t) => {
  const env = {
    PORT: '',
    JWT_SECRET: '',
    DATABASE_URL: '',
    TOKEN_TABLE: '',
    TRUSTED_PROXIES: '',
    WORKERS: '',
  }
  t.same(good(env), good({}))
})

t.test('all problems are reported at once, each with its variable', async (t) => {
  const found = problems({
    NODE_ENV: 'production',
    PORT: '80x',
    LOG_LEVEL: 'loud',
    TRUSTED_PROXIES: '10.0.0.0/33',
    ACCESS_COOKIE: 'a b',
    TOKEN_COLUMNS: 'jti=id',
    JWT_ALGORITHMS: 'none',
    TLS_KEY_FILE: 'key.pem',
  })
  for (const name of [
    'PORT',
    'LOG_LEVEL',
    'TRUSTED_PROXIES',
    'ACCESS_COOKIE',
    'TOKEN_COLUMNS',
    'JWT_ALGORITHMS',
    'TLS_CERT_FILE',
    'TLS_KEY_FILE',
    'DATABASE_URL',
    'JWT_SECRET',
  ]) {
    t.ok(
      found.some((problem) => problem.startsWith(name)),
      name,
    )
  }
})

for (const [name, value, told] of [
  ['PORT', '65536', '"65536"; expected a whole number from 0 to 65535'],
  ['PORT', '-1', '"-1"'],
  ['PORT', '1e3', '"1e3"'],
  ['PORT', ' 80', '" 80"'],
  ['PORT', '0x50', '"0x50"'],
  ['DATABASE_POOL_SIZE', '0', 'a whole number from 1'],
  ['LOOKUP_TIMEOUT_MS', '1.5', 'a whole number'],
  ['NEGATIVE_CACHE_TTL_US', 'NaN', 'a whole number'],
  ['MAX_CONNECTIONS', '99999999999999999999', 'a whole number'],
  ['HTTP2_MAX_STREAMS', '0', 'a whole number from 1 to 10000'],
  ['DATABASE_PREPARE', 'yes', '"true" or "false"'],
  ['ACCESS_LOG', '2', 'one of off, on, all'],
  ['LOG_LEVEL', 'verbose', 'one of fatal, error, warn, info, debug, trace, silent'],
  ['TRUSTED_PROXIES', '10.0.0.0/8,example.com', '"example.com" is none'],
  ['TRUSTED_PROXIES', '::/129', '"::/129" is none'],
  ['TRUSTED_PROXIES', '10.0.0.0/', '"10.0.0.0/" is none'],
  ['TRUSTED_PROXIES', 'fe80::1%eth0', '"fe80::1%eth0" is none'],
  ['TRUSTED_PROXIES', ',', 'a comma-separated list'],
  ['GATEWAY_PATH', '/', 'a path such as /-'],
  ['GATEWAY_PATH', 'gateway', 'a path such as /-'],
  ['GATEWAY_PATH', '/a/../b', 'a path such as /-'],
  ['GATEWAY_PATH', '/a%2fb', 'a path such as /-'],
  ['ACCESS_COOKIE', 'a;b', 'a cookie name'],
  ['REFRESH_COOKIE', 'a=b', 'a cookie name'],
  ['WORKERS', 'all', '"auto" or a whole number'],
  ['WORKERS', '0', '"auto" or a whole number'],
  ['REVOCATION_CHANNEL', 'x'.repeat(64), 'at most 63 bytes'],
  ['TOKEN_TABLE', 'a.b.c', 'expected a table name'],
  ['TOKEN_COLUMNS', 'id=a,id=b', '"id" is named twice'],
  ['TOKEN_STATUSES', 'ACTIVE', 'found "ACTIVE"; expected two statuses'],
  ['TOKEN_STATUSES', 'ACTIVE,', 'expected two statuses'],
  ['TOKEN_STATUSES', ',REVOKED', 'expected two statuses'],
  ['TOKEN_STATUSES', 'a,b,c', 'expected two statuses'],
  ['TOKEN_STATUSES', 'true, true', 'expected two different statuses'],
  ['JWT_JWKS_URL', 'keys.json', 'an http: or https: URL'],
  ['JWT_JWKS_URL', 'file:///etc/keys.json', 'an http: or https: URL'],
] as const) {
  t.test(`${name}=${value} is refused, and the problem names what was expected`, async (t) => {
    const found = problems({ [name]: value })
    t.equal(found.length, 1)
    t.match(found[0], `${name}: `)
    t.match(found[0], told)
  })
}

for (const [value, expected] of [
  ['on', true],
  ['ON', true],
  ['true', true],
  ['1', true],
  ['off', false],
  ['False', false],
  ['0', false],
] as const) {
  t.test(`the value ${value} means ${expected ? 'on' : 'off'}`, async (t) => {
    t.equal(good({ DATABASE_PREPARE: value }).databasePrepare, expected)
  })
}

t.test('values are read with their types', async (t) => {
  t.match(
    good({
      PORT: '0',
      TRUSTED_PROXIES: '10.0.0.0/8, 192.168.1.7 ,fd00::/8',
      GATEWAY_PATH: '/_gateway/',
      WORKERS: 'auto',
      TOKEN_TABLE: 'auth.Tokens',
      TOKEN_COLUMNS: 'id=jti',
      TOKEN_STATUSES: 'false, true',
      NEGATIVE_CACHE_TTL_US: '250',
      REVOCATION_CHANNEL: 'token revoked',
      MAX_CONNECTIONS: '7',
    }),
    {
      port: 0,
      trustedProxies: ['10.0.0.0/8', '192.168.1.7', 'fd00::/8'],
      gatewayPath: '/_gateway',
      workers: 6,
      tokenTable: { schema: 'auth', name: 'tokens' },
      tokenColumns: { id: 'jti', userId: 'userId' },
      tokenStatuses: { admitting: 'false', revoked: 'true' },
      negativeCacheTtlUs: 250,
      revocationChannel: 'token revoked',
      maxConnections: 7,
    },
  )
})

t.test('NODE_ENV=production requires a database and a key', async (t) => {
  const found = problems({ NODE_ENV: 'production' })
  t.equal(found.length, 2)
  t.match(found[0], 'DATABASE_URL: not set')
  t.match(found[1], 'none is set; expected exactly one')
})

t.test('NODE_ENV=production requires nothing but a database and a key', async (t) => {
  const settings = good({ NODE_ENV: 'production', DATABASE_URL: DATABASE, JWT_SECRET: SECRET })
  t.equal(settings.production, true)
  t.equal(settings.databaseUrl, DATABASE)
  t.same(settings.keySource, { kind: 'secret', secret: SECRET })
})

for (const url of [
  'postgres://a/db',
  'postgresql://u:p@a:5432,b:5433/db?sslmode=require',
  'postgres://u:p%40ss@[::1]:5432/db',
  'postgres://u:p@ss@a/db',
  'postgres://u@%2Fvar%2Frun%2Fpostgresql/db',
  'postgres://a,b',
]) {
  t.test(`DATABASE_URL=${url} is accepted`, async (t) => {
    t.equal(good({ DATABASE_URL: url }).databaseUrl, url)
  })
}

for (const url of [
  'mysql://u:hunter2@a/db',
  'a:5432/db',
  'postgres://u:hunter2@a:port/db',
  'postgres://u:hunter2@a:5432,b:99999/db',
  'postgres://u:hunter2@a:0/db',
  'postgres://u:hunter2%zz@a/db',
  'postgres://u:hunter2@a b/db',
]) {
  t.test(`DATABASE_URL=${url} is refused without repeating the password`, async (t) => {
    const found = problems({ DATABASE_URL: url })
    t.equal(found.length, 1)
    t.match(found[0], 'DATABASE_URL: its value is not usable; expected postgres://')
    t.notMatch(found[0], 'hunter2')
  })
}

t.test('attack: an unknown sslmode is refused, and does not connect without TLS', async (t) => {
  const found = problems({ DATABASE_URL: 'postgres://u:hunter2@a/db?sslmode=verify_full' })
  t.match(found, [
    /^DATABASE_URL: its sslmode is "verify_full"; expected disable, prefer, require, verify-ca, verify-full$/,
  ])
})

t.test('the last line break of DATABASE_URL_FILE is not part of the URL', async (t) => {
  const settings = good({ DATABASE_URL_FILE: '/run/secrets/db' }, { '/run/secrets/db': `${DATABASE}\n` })
  t.equal(settings.databaseUrl, DATABASE)
})

for (const [what, files, told] of [
  ['is missing', {}, '/run/db cannot be read (ENOENT)'],
  ['is empty', { '/run/db': '\n' }, '/run/db is empty'],
] as const) {
  t.test(`a DATABASE_URL_FILE that ${what} is a problem`, async (t) => {
    t.match(problems({ DATABASE_URL_FILE: '/run/db' }, files), [`DATABASE_URL_FILE: ${told}`])
  })
}

t.test('DATABASE_URL and DATABASE_URL_FILE together are a problem', async (t) => {
  const found = problems({ DATABASE_URL: DATABASE, DATABASE_URL_FILE: '/run/db' }, { '/run/db': DATABASE })
  t.match(found, ['DATABASE_URL and DATABASE_URL_FILE are both set'])
  t.notMatch(found.join(), 'hunter2')
})

const PEM = generateKeyPairSync('ed25519').publicKey.export({ type: 'spki', format: 'pem' }).toString()
const FILES = { '/k/secret': `${SECRET}\n`, '/k/public.pem': PEM }
const SOURCES = {
  JWT_SECRET: SECRET,
  JWT_SECRET_FILE: '/k/secret',
  JWT_PUBLIC_KEY_FILE: '/k/public.pem',
  JWT_JWKS_URL: 'https://issuer.example/jwks.json',
}

for (const [name, source] of [
  ['JWT_SECRET', { kind: 'secret', secret: SECRET }],
  ['JWT_SECRET_FILE', { kind: 'secret-file', path: '/k/secret' }],
  ['JWT_PUBLIC_KEY_FILE', { kind: 'public-key-file', path: '/k/public.pem' }],
  ['JWT_JWKS_URL', { kind: 'jwks-url', url: SOURCES.JWT_JWKS_URL }],
] as const) {
  t.test(`${name} alone is accepted as the key`, async (t) => {
    t.same(good({ [name]: SOURCES[name] }, FILES).keySource, source)
  })

  for (const other of Object.keys(SOURCES) as (keyof typeof SOURCES)[]) {
    if (other <= name) continue
    t.test(`${name} and ${other} together are a problem`, async (t) => {
      const found = problems({ [name]: SOURCES[name], [other]: SOURCES[other] }, FILES)
      t.match(found, [/more than one is set; expected exactly one/])
      t.notMatch(found.join(), SECRET)
    })
  }
}

t.test('a secret of 31 bytes is refused, one of 32 is accepted', async (t) => {
  t.match(problems({ JWT_SECRET: 'x'.repeat(31) }), [
    'JWT_SECRET: the secret has 31 bytes; expected at least 32',
  ])
  t.same(problems({ JWT_SECRET: 'x'.repeat(32) }), [])
  t.same(problems({ JWT_SECRET: 'é'.repeat(16) }), [])
})

t.test('a secret that is too short is not repeated', async (t) => {
  t.notMatch(problems({ JWT_SECRET: 'hunter2' }).join(), 'hunter2')
})

t.test('line breaks at the end of a secret file are not part of the secret', async (t) => {
  const found = problems({ JWT_SECRET_FILE: '/s' }, { '/s': `${'x'.repeat(31)}\r\n` })
  t.match(found, ['JWT_SECRET_FILE: /s: the secret has 31 bytes'])
})

t.test('every line of a secret file that is too short is reported with its position', async (t) => {
  const found = problems({ JWT_SECRET_FILE: '/s' }, { '/s': `${SECRET}\nhunter2\n\nhunter3\n` })
  t.match(found, [
    /^JWT_SECRET_FILE: \/s:2: the secret has 7 bytes/,
    /^JWT_SECRET_FILE: \/s:4: the secret has 7/,
  ])
  t.notMatch(found.join(), 'hunter')
})

t.test('all keys of a file without a usable key are reported', async (t) => {
  const content = JSON.stringify({ keys: [{ kty: 'oct', k: 'aHVudGVyMg' }, { kty: 'XYZ' }] })
  t.match(problems({ JWT_PUBLIC_KEY_FILE: '/k' }, { '/k': content }), [
    /^JWT_PUBLIC_KEY_FILE: \/k: holds no key that can be used/,
    /^JWT_PUBLIC_KEY_FILE: \/k: key 1 is symmetric/,
    /^JWT_PUBLIC_KEY_FILE: \/k: key 2 cannot be read/,
  ])
})

t.test('a key file that fits none of JWT_ALGORITHMS is refused, one that fits is accepted', async (t) => {
  t.match(problems({ JWT_PUBLIC_KEY_FILE: '/k/public.pem', JWT_ALGORITHMS: 'RS256' }, FILES), [
    /^JWT_PUBLIC_KEY_FILE: .*expected a key that fits the algorithms RS256$/,
  ])
  const { publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const content = JSON.stringify({ ...publicKey.export({ format: 'jwk' }), alg: 'RS512' })
  t.same(problems({ JWT_PUBLIC_KEY_FILE: '/k', JWT_ALGORITHMS: 'RS512' }, { '/k': content }), [])
})

for (const [what, env, content, told] of [
  [
    'a key that is passed over',
    { JWT_PUBLIC_KEY_FILE: '/k' },
    `${PEM}-----BEGIN X-----`,
    /^JWT_PUBLIC_KEY_FILE: \/k:4: key 2 .*passed over$/,
  ],
  [
    'a secret of a file in quotes',
    { JWT_SECRET_FILE: '/k' },
    `"${SECRET}"`,
    /^JWT_SECRET_FILE: \/k:1: the secret is in quotes; /,
  ],
  ['JWT_SECRET in quotes', { JWT_SECRET: `"${SECRET}"` }, '', /^JWT_SECRET: the secret is in quotes; /],
] as const) {
  t.test(`${what} is a warning and not a problem`, async (t) => {
    const result = read(env, { '/k': content })
    t.equal(result.ok, true)
    if (result.ok) t.match(result.warnings, [told])
    t.notMatch(JSON.stringify(result.ok ? result.warnings : []), SECRET)
  })
}

for (const name of ['JWT_SECRET_FILE', 'JWT_PUBLIC_KEY_FILE']) {
  t.test(`a missing file of ${name} is a problem`, async (t) => {
    t.match(problems({ [name]: '/nowhere' }), [`${name}: /nowhere cannot be read (ENOENT)`])
  })
}

for (const [name, algorithms, bad] of [
  ['JWT_SECRET', 'none', 'none'],
  ['JWT_SECRET', 'NONE', 'NONE'],
  ['JWT_SECRET', 'HS256,RS256', 'RS256'],
  ['JWT_SECRET', 'hs256', 'hs256'],
  ['JWT_PUBLIC_KEY_FILE', 'RS256, HS256', 'HS256'],
  ['JWT_JWKS_URL', 'HS512', 'HS512'],
  ['JWT_JWKS_URL', 'none', 'none'],
] as const) {
  t.test(`attack: ${name} with JWT_ALGORITHMS=${algorithms} is refused`, async (t) => {
    const found = problems({ [name]: SOURCES[name], JWT_ALGORITHMS: algorithms }, FILES)
    t.equal(found.length, 1)
    t.match(found[0], `JWT_ALGORITHMS: found "${bad}"; expected`)
  })
}

t.test('algorithms that fit the key are accepted', async (t) => {
  t.same(good({ JWT_SECRET: SECRET, JWT_ALGORITHMS: 'HS384, HS512' }).jwtAlgorithms, ['HS384', 'HS512'])
  const settings = good({ JWT_JWKS_URL: SOURCES.JWT_JWKS_URL, JWT_ALGORITHMS: 'ES256,EdDSA' })
  t.same(settings.jwtAlgorithms, ['ES256', 'EdDSA'])
})

t.test('with a bad JWT_JWKS_URL the algorithms of public keys are no problem of their own', async (t) => {
  const found = problems({ JWT_JWKS_URL: 'nowhere', JWT_ALGORITHMS: 'RS256' })
  t.equal(found.length, 1)
  t.match(found[0], 'JWT_JWKS_URL')
})

t.test('credentials in JWT_JWKS_URL are refused and not repeated', async (t) => {
  const found = problems({ JWT_JWKS_URL: 'https://u:hunter2@issuer.example/keys' })
  t.match(found, [/^JWT_JWKS_URL: .*without user and password/])
  t.notMatch(found.join(), 'hunter2')
})

t.test('the same name for both cookies is a problem', async (t) => {
  t.match(problems({ ACCESS_COOKIE: 'refresh_token' }), [/both "refresh_token"; expected different names/])
})

t.test('a certificate without its key, and files that are missing, are problems', async (t) => {
  const files = { 'c.pem': 'C', 'k.pem': 'K' }
  t.match(problems({ TLS_CERT_FILE: 'c.pem' }, files), ['TLS_KEY_FILE: not set'])
  t.match(problems({ TLS_KEY_FILE: 'k.pem' }, files), ['TLS_CERT_FILE: not set'])
  t.match(problems({ TLS_CERT_FILE: 'c.pem', TLS_KEY_FILE: 'x.pem' }, files), [
    'TLS_KEY_FILE: x.pem cannot be read',
  ])
  t.same(problems({ TLS_CERT_FILE: 'c.pem', TLS_KEY_FILE: 'k.pem' }, files), [])
})

t.test('settings that need TLS are checked together', async (t) => {
  const tls = { TLS_CERT_DIR: 'certificates' }
  t.same(problems({ ...tls, HTTP_REDIRECT_PORT: '80', HSTS_MAX_AGE_S: '600' }), [])
  t.match(problems({ HTTP_REDIRECT_PORT: '80' }), [
    /^HTTP_REDIRECT_PORT: set, but the public listener does not/,
  ])
  t.match(problems({ ...tls, HTTP_REDIRECT_PORT: '8080' }), [
    /^HTTP_REDIRECT_PORT: found 8080, which is PORT too/,
  ])
  t.match(problems({ ...tls, HTTP_REDIRECT_PORT: '9090' }), [/which is ADMIN_PORT too/])
  t.match(problems({ ...tls, HSTS_PRELOAD: 'on', HSTS_MAX_AGE_S: '600' }), [/^HSTS_PRELOAD: .*31536000/])
  t.match(problems({ ...tls, TLS_TICKET_SECRET: 'short' }), [/^TLS_TICKET_SECRET: the secret has 5 bytes/])
  t.equal(good({ TLS_TICKET_SECRET_FILE: 'f' }, { f: `${SECRET}\n` }).tlsTicketSecret, SECRET)
})

t.test('PROXY_PROTOCOL=on without TRUSTED_PROXIES is a problem', async (t) => {
  t.match(problems({ PROXY_PROTOCOL: 'on' }), [/^PROXY_PROTOCOL: .*TRUSTED_PROXIES/])
  t.same(problems({ PROXY_PROTOCOL: 'on', TRUSTED_PROXIES: '10.0.0.0/8' }), [])
})

for (const [env, clash] of [
  [{ PORT: '9090' }, true],
  [{ PORT: '9090', HOST: '127.0.0.1' }, true],
  [{ PORT: '9090', HOST: '::' }, true],
  [{ PORT: '9090', HOST: '10.0.0.1' }, false],
  [{ PORT: '0', ADMIN_PORT: '0' }, false],
] as const) {
  t.test(
    `${JSON.stringify(env)} ${clash ? 'is a conflict of ports' : 'is no conflict of ports'}`,
    async (t) => {
      t.equal(problems(env).length, clash ? 1 : 0)
      if (clash) t.match(problems(env), ['ADMIN_PORT: found 9090, which is PORT too'])
    },
  )
}

t.test('SESSION_ENDPOINTS without a signing secret is a problem', async (t) => {
  const env = { SESSION_ENDPOINTS: 'on', JWT_JWKS_URL: SOURCES.JWT_JWKS_URL }
  t.match(problems(env), ['SESSION_ENDPOINTS: found "on", but the gateway holds no signing secret'])
  t.equal(good({ SESSION_ENDPOINTS: 'on', JWT_SECRET: SECRET }).sessionEndpoints, true)
})

for (const [name, meant] of [
  ['DATABASE_POOLSIZE', 'DATABASE_POOL_SIZE'],
  ['UPSTREAM_FILE', 'UPSTREAMS_FILE'],
  ['DRAIN_TIMEOUT', 'DRAIN_TIMEOUT_MS'],
  ['LOOKUP_TIMEOUT_S', 'LOOKUP_TIMEOUT_MS'],
  ['database_url', 'DATABASE_URL'],
] as const) {
  t.test(`${name} is a warning that names ${meant}, and not a problem`, async (t) => {
    const result = read({ [name]: 'x' })
    t.match(result, { ok: true, warnings: [`${name}: is not read; did you mean ${meant}?`] })
    t.match(problems({ [name]: 'x', PORT: 'x' }), [/^PORT: /, `${name}: is not read`])
  })
}

t.test('variables of other programs cause no warning', async (t) => {
  const env = { HOME: '/', HOSTS: 'a', SSL_CERT_FILE: '/a', DATABASE: 'x', API_SERVICE_HOST: '10.0.0.1' }
  t.match(read({ ...env, DATABASE_POOLSIZE: '1', DATABASE_POOL_SIZE: '2' }), { ok: true, warnings: [] })
})

t.test('without a file reader of the caller, files are read from the disk', async (t) => {
  const folder = t.testdir({ secret: SECRET })
  t.equal(readSettings({ JWT_SECRET_FILE: `${folder}/secret` }).ok, true)
  t.equal(readSettings({ JWT_SECRET_FILE: `${folder}/other` }).ok, false)
})

t.test(
  'the attributes of the cookies are read, in any case, and a dot before the domain is dropped',
  async (t) => {
    const env = { COOKIE_SAME_SITE: 'Lax', COOKIE_DOMAIN: '.Example.com', COOKIE_PERSISTENT: 'on' }
    t.match(good(env), { cookieSameSite: 'lax', cookieDomain: 'example.com', cookiePersistent: true })
    t.same(problems({ COOKIE_SAME_SITE: 'relaxed' }), [
      'COOKIE_SAME_SITE: found "relaxed"; expected one of strict, lax, none',
    ])
    t.same(problems({ COOKIE_PERSISTENT: 'always' }), [
      'COOKIE_PERSISTENT: found "always"; expected "on" or "off"',
    ])
  },
)

t.test('attack by a setting: a domain cannot end the attribute and begin another one', async (t) => {
  for (const domain of [
    'a.example; Path=/x',
    'https://a.example',
    'a.example:443',
    'a..b',
    '-a.b',
    'a\r\nX: y',
    '.',
  ])
    t.match(problems({ COOKIE_DOMAIN: domain }), [
      /^COOKIE_DOMAIN: found .*; expected a domain such as example\.com/,
    ])
})

t.test('a domain for a cookie that is bound to its host by its name is refused', async (t) => {
  t.match(problems({ COOKIE_DOMAIN: 'example.com', ACCESS_COOKIE: '__host-auth' }), [
    /^COOKIE_DOMAIN: found "example\.com", but browsers refuse a domain for __host-auth; expected no COOKIE_DOMAIN/,
  ])
  good({ COOKIE_DOMAIN: 'example.com', ACCESS_COOKIE: '__Secure-auth' })
})
