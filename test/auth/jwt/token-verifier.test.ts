import { createHmac, generateKeyPairSync } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import fc from 'fast-check'
import t from 'tap'
import type { KeySource } from '../../../gateway/auth/jwt/key-ring.ts'
import { createKeyRing } from '../../../gateway/auth/jwt/keys.ts'
import {
  createTokenVerifier,
  type Verification,
  type VerifierParts,
} from '../../../gateway/auth/jwt/token-verifier.ts'
import { GatewayError } from '../../../gateway/core/errors.ts'
import { SILENT_LOG } from '../../../gateway/core/log.ts'
import { hashText } from '../../../gateway/core/text-hash.ts'
import { createFakeScheduler } from '../../support/fake-scheduler.ts'
import { forgeToken, signToken, TEST_SECRET } from '../../support/tokens.ts'

const NOW_S = 1_800_000_000
const CLAIMS = { jti: 't-1', userId: 'alice', mandateId: 'acme', sessionId: 's-1', exp: NOW_S + 60 }
const SECRET: KeySource = { kind: 'secret', secret: TEST_SECRET }

const ringOf = (source: KeySource, algorithms: readonly string[] | null = null) =>
  createKeyRing(source, {
    scheduler: createFakeScheduler(),
    fetchJson: async () => {
      throw new Error('nothing is fetched here')
    },
    log: SILENT_LOG,
    algorithms,
  })

async function verifierWith(parts: Partial<VerifierParts> = {}) {
  const clock = { s: NOW_S }
  const verifier = createTokenVerifier({
    keys: parts.keys ?? (await ringOf(SECRET)),
    issuer: null,
    audience: null,
    clockToleranceS: 0,
    wallClock: () => clock.s * 1000,
    memoMax: 100,
    ...parts,
  })
  return { clock, verifier }
}

/** Signs bytes that no library would. */
function signRaw(header: string, payload: string, secret: string | Buffer = TEST_SECRET): string {
  const input = [header, payload].map((text) => Buffer.from(text).toString('base64url')).join('.')
  return `${input}.${createHmac('sha256', secret).update(input).digest('base64url')}`
}

const sign = (claims: object) => signRaw('{"alg":"HS256"}', JSON.stringify(claims))

async function verdict(jwt: string, use: 'access' | 'refresh' = 'access', parts = {}): Promise<string> {
  const { verifier } = await verifierWith(parts)
  const verification = await verifier.verify(jwt, use)
  if (verification.kind === 'verified') return 'verified'
  const secretive = jwt.split('.').every((part) => part.length < 8 || !verification.reason.includes(part))
  return secretive ? verification.code : `the reason tells the token: ${verification.reason}`
}

t.test('a good token is verified and its claims returned', async (t) => {
  const { verifier } = await verifierWith()
  t.same(await verifier.verify(await signToken({ claims: CLAIMS }), 'access'), {
    kind: 'verified',
    token: { ...CLAIMS, nbf: null },
  })
})

t.test('claims that are absent or null are null', async (t) => {
  const { verifier } = await verifierWith()
  const jwt = sign({ jti: 'a', exp: CLAIMS.exp, mandateId: null })
  const token = { jti: 'a', exp: CLAIMS.exp, nbf: null, userId: null, mandateId: null, sessionId: null }
  t.same(await verifier.verify(jwt, 'access'), { kind: 'verified', token })
})

t.test('ids that are whole numbers are read as their decimal text', async (t) => {
  const { verifier } = await verifierWith()
  t.match(await verifier.verify(sign({ ...CLAIMS, userId: 42 }), 'access'), { token: { userId: '42' } })
})

t.test('a token that was verified before returns the same object, and no promise', async (t) => {
  const { verifier } = await verifierWith()
  const jwt = await signToken({ claims: CLAIMS })
  const first = verifier.verify(jwt, 'access')
  t.ok(first instanceof Promise)
  const again = verifier.verify(jwt, 'access')
  t.ok(again instanceof Promise)
  const verified = await first
  t.equal(verifier.verify(jwt, 'access'), verified)
  t.ok(Object.isFrozen(verified))
  if (verified.kind === 'verified') t.ok(Object.isFrozen(verified.token))
})

t.test('a refusal is not remembered', async (t) => {
  const { verifier } = await verifierWith()
  const jwt = await signToken({ claims: CLAIMS, secret: 'another secret that is long enough too' })
  t.match(await verifier.verify(jwt, 'access'), { code: 'token_invalid' })
  t.ok(verifier.verify(jwt, 'access') instanceof Promise)
})

t.test('no more tokens are remembered than the bound', async (t) => {
  const { verifier } = await verifierWith({ memoMax: 2 })
  const tokens = ['a', 'b', 'c'].map((jti) => sign({ ...CLAIMS, jti }))
  for (const jwt of tokens) await verifier.verify(jwt, 'access')
  t.ok(verifier.verify(tokens[0]!, 'access') instanceof Promise)
  t.notOk(verifier.verify(tokens[2]!, 'access') instanceof Promise)
})

t.test('exp and nbf are checked at each call, also for a remembered token', async (t) => {
  const { clock, verifier } = await verifierWith()
  const jwt = sign({ ...CLAIMS, nbf: NOW_S })
  t.match(await verifier.verify(jwt, 'access'), { kind: 'verified' })
  clock.s = CLAIMS.exp - 0.001
  t.match(verifier.verify(jwt, 'access'), { kind: 'verified' })
  clock.s = CLAIMS.exp
  t.match(verifier.verify(jwt, 'access'), { code: 'token_expired' })
  clock.s = NOW_S - 1
  t.match(verifier.verify(jwt, 'access'), { code: 'token_invalid' })
})

t.test('the clock tolerance applies to exp and to nbf', async (t) => {
  const { clock, verifier } = await verifierWith({ clockToleranceS: 5 })
  const jwt = sign({ ...CLAIMS, nbf: NOW_S + 5 })
  t.match(await verifier.verify(jwt, 'access'), { kind: 'verified' })
  clock.s = NOW_S - 0.5
  t.match(verifier.verify(jwt, 'access'), { code: 'token_invalid' })
  clock.s = CLAIMS.exp + 4.5
  t.match(verifier.verify(jwt, 'access'), { kind: 'verified' })
  clock.s = CLAIMS.exp + 5
  t.match(verifier.verify(jwt, 'access'), { code: 'token_expired' })
})

t.test('an expired token with a bad signature is refused for its signature', async (t) => {
  const expired = { ...CLAIMS, exp: NOW_S - 1 }
  t.equal(await verdict(sign(expired)), 'token_expired')
  t.equal(await verdict(forgeToken({ alg: 'HS256' }, expired, 'AAAA')), 'token_invalid')
})

const NONES = [
  'none',
  'None',
  'NONE',
  'nOnE',
  ' none',
  'none\0',
  '',
  null,
  0,
  true,
  ['none'],
  ['HS256'],
  {},
  undefined,
]
for (const alg of NONES) {
  t.test(`attack: alg ${JSON.stringify(alg)} is refused with any signature`, async (t) => {
    const good = sign(CLAIMS).split('.')[2]!
    for (const signature of ['', 'AA', good]) {
      t.equal(await verdict(forgeToken({ alg, typ: 'JWT' }, CLAIMS, signature)), 'token_invalid')
    }
    t.equal(await verdict(signRaw(JSON.stringify({ alg }), JSON.stringify(CLAIMS))), 'token_invalid')
  })
}

for (const alg of ['HS384', 'HS512']) {
  t.test(`${alg} is refused unless it is allowed`, async (t) => {
    const jwt = await signToken({ claims: CLAIMS, header: { alg }, secret: TEST_SECRET.repeat(2) })
    const source: KeySource = { kind: 'secret', secret: TEST_SECRET.repeat(2) }
    t.equal(await verdict(jwt, 'access', { keys: await ringOf(source) }), 'token_invalid')
    t.equal(await verdict(jwt, 'access', { keys: await ringOf(source, [alg]) }), 'verified')
  })
}

t.test('attack: HS256 signed with the public key is refused', async (t) => {
  const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const pem = publicKey.export({ type: 'spki', format: 'pem' })
  const folder = t.testdir({ 'public.pem': pem })
  const keys = await ringOf({ kind: 'public-key-file', path: `${folder}/public.pem` })
  t.teardown(() => keys.close())
  const jwk = publicKey.export({ format: 'jwk' })
  const secrets = [
    pem,
    pem.toString().trim(),
    publicKey.export({ type: 'spki', format: 'der' }),
    publicKey.export({ type: 'pkcs1', format: 'pem' }),
    JSON.stringify(jwk),
    Buffer.from(jwk.n!, 'base64url'),
  ]
  for (const secret of secrets) {
    for (const alg of ['HS256', 'RS256']) {
      const jwt = signRaw(JSON.stringify({ alg }), JSON.stringify(CLAIMS), secret)
      t.equal(await verdict(jwt, 'access', { keys }), 'token_invalid')
    }
  }
  const good = await signToken({ claims: CLAIMS, key: privateKey, header: { alg: 'RS256' } })
  t.equal(await verdict(good, 'access', { keys }), 'verified')
})

for (const kid of [
  '../../../../dev/null',
  '/etc/passwd',
  "x' UNION SELECT 'secret' --",
  '|id',
  '__proto__',
  7,
  {},
]) {
  t.test(`attack: the kid ${JSON.stringify(kid)} chooses no key`, async (t) => {
    const header = JSON.stringify({ alg: 'HS256', kid })
    // What such kids make careless verifiers take for the secret.
    for (const secret of ['', 'secret', '\0', 'null', 'undefined', '[object Object]']) {
      t.equal(await verdict(signRaw(header, JSON.stringify(CLAIMS), secret)), 'token_invalid')
    }
  })
}

t.test('attack: jku, x5u, jwk and x5c are never used, and nothing connects', async (t) => {
  let connections = 0
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const jwk = { ...publicKey.export({ format: 'jwk' }), kid: 'evil', alg: 'ES256' }
  const server = createServer((_req, res) => res.end(JSON.stringify({ keys: [jwk] })))
  server.on('connection', () => connections++)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/keys.json`
  const own = generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey
  const folder = t.testdir({ 'key.pem': own.export({ type: 'spki', format: 'pem' }) })
  const keys = await ringOf({ kind: 'public-key-file', path: `${folder}/key.pem` })
  t.teardown(() => keys.close())
  const der = publicKey.export({ type: 'spki', format: 'der' }).toString('base64')
  for (const extra of [{ jku: url, kid: 'evil' }, { x5u: url }, { jwk }, { x5c: [der] }, { kid: url }]) {
    const jwt = await signToken({ claims: CLAIMS, key: privateKey, header: { alg: 'ES256', ...extra } })
    t.equal(await verdict(jwt, 'access', { keys }), 'token_invalid')
    const symmetric = signRaw(JSON.stringify({ alg: 'HS256', ...extra }), JSON.stringify(CLAIMS), der)
    t.equal(await verdict(symmetric), 'token_invalid')
  }
  t.equal(connections, 0)
})

for (const extra of [
  { crit: ['exp'], exp: 1 },
  { crit: ['http://example.com/x'], 'http://example.com/x': true },
  { crit: ['b64'], b64: true },
  { crit: ['b64'], b64: false },
  { crit: [] },
  { crit: 'exp' },
  { crit: [1] },
]) {
  t.test(`attack: the critical extension ${JSON.stringify(extra)} is not understood`, async (t) => {
    const header = JSON.stringify({ alg: 'HS256', ...extra })
    t.equal(await verdict(signRaw(header, JSON.stringify(CLAIMS))), 'token_invalid')
  })
}

const { jti: _jti, ...noJti } = CLAIMS
const { exp: _exp, ...noExp } = CLAIMS
const BAD_CLAIMS: readonly (readonly [string, object])[] = [
  ['no exp', noExp],
  ['exp null', { ...CLAIMS, exp: null }],
  ['exp as text', { ...CLAIMS, exp: String(CLAIMS.exp) }],
  ['exp as a list', { ...CLAIMS, exp: [CLAIMS.exp] }],
  ['nbf far ahead', { ...CLAIMS, nbf: NOW_S + 1 }],
  ['nbf as text', { ...CLAIMS, nbf: '0' }],
  ['no jti', noJti],
  ['jti null', { ...CLAIMS, jti: null }],
  ['jti empty', { ...CLAIMS, jti: '' }],
  ['jti as number', { ...CLAIMS, jti: 1 }],
  ['jti as object', { ...CLAIMS, jti: { $ne: null } }],
  ['jti as list', { ...CLAIMS, jti: ['t-1'] }],
  ['jti of 1025 characters', { ...CLAIMS, jti: 'x'.repeat(1025) }],
  ['jti of 10 kB', { ...CLAIMS, jti: 'x'.repeat(10_000) }],
  ['jti of 20 kB', { ...CLAIMS, jti: 'x'.repeat(20_000) }],
  ['jti with NUL', { ...CLAIMS, jti: 'a\0b' }],
  ['jti with a lone surrogate', { ...CLAIMS, jti: 'a\ud800' }],
  ['userId as object', { ...CLAIMS, userId: {} }],
  ['userId as boolean', { ...CLAIMS, userId: true }],
  ['userId as a fraction', { ...CLAIMS, userId: 1.5 }],
  ['mandateId as list', { ...CLAIMS, mandateId: ['acme'] }],
  ['sessionId beyond what numbers can hold', { ...CLAIMS, sessionId: 2 ** 53 }],
  ['type as list', { ...CLAIMS, type: ['access'] }],
]
for (const [what, claims] of BAD_CLAIMS) {
  t.test(`attack: ${what} is refused behind a good signature`, async (t) => {
    t.equal(await verdict(sign(claims)), 'token_invalid')
  })
}

for (const payload of ['null', '[]', '"x"', '1', '', '{"jti":', `{"jti":"a","exp":1e999}`]) {
  t.test(`attack: the payload ${JSON.stringify(payload)} is refused behind a good signature`, async (t) => {
    t.equal(await verdict(signRaw('{"alg":"HS256"}', payload)), 'token_invalid')
  })
}

t.test('attack: a payload that is no UTF-8 is refused behind a good signature', async (t) => {
  const bytes = Buffer.concat([
    Buffer.from('{"exp":1900000000,"jti":"'),
    Buffer.from([0xff]),
    Buffer.from('"}'),
  ])
  const input = `${Buffer.from('{"alg":"HS256"}').toString('base64url')}.${bytes.toString('base64url')}`
  const jwt = `${input}.${createHmac('sha256', TEST_SECRET).update(input).digest('base64url')}`
  t.equal(await verdict(jwt), 'token_invalid')
})

t.test('a jti with quotes is text like any other', async (t) => {
  const { verifier } = await verifierWith()
  const jti = `' OR 1=1; --"{},\\`
  t.match(await verifier.verify(sign({ ...CLAIMS, jti }), 'access'), { token: { jti } })
})

t.test('attack: a refresh token in the access cookie is refused, also once it is remembered', async (t) => {
  const { verifier } = await verifierWith()
  const jwt = sign({ ...CLAIMS, type: 'refresh' })
  t.match(await verifier.verify(jwt, 'access'), { code: 'token_invalid' })
  t.match(await verifier.verify(jwt, 'refresh'), { kind: 'verified' })
  t.match(verifier.verify(jwt, 'access'), { code: 'token_invalid' })
})

for (const type of [undefined, null, 'access', 'Refresh']) {
  t.test(`attack: a token of type ${type} in the refresh cookie is refused`, async (t) => {
    t.equal(await verdict(sign({ ...CLAIMS, type }), 'refresh'), 'token_invalid')
    t.equal(await verdict(sign({ ...CLAIMS, type }), 'access'), 'verified')
  })
}

for (const [iss, expected] of [
  ['https://issuer', 'verified'],
  ['https://issuer/', 'token_invalid'],
  [['https://issuer'], 'token_invalid'],
  [undefined, 'token_invalid'],
] as const) {
  t.test(`the issuer ${JSON.stringify(iss)} is ${expected} where https://issuer is asked for`, async (t) => {
    t.equal(await verdict(sign({ ...CLAIMS, iss }), 'access', { issuer: 'https://issuer' }), expected)
  })
}

for (const [aud, expected] of [
  ['gateway', 'verified'],
  [['other', 'gateway'], 'verified'],
  ['gateway2', 'token_invalid'],
  [['other'], 'token_invalid'],
  [{ 0: 'gateway' }, 'token_invalid'],
  [undefined, 'token_invalid'],
] as const) {
  t.test(`the audience ${JSON.stringify(aud)} is ${expected} where gateway is asked for`, async (t) => {
    t.equal(await verdict(sign({ ...CLAIMS, aud }), 'access', { audience: 'gateway' }), expected)
  })
}

const good = sign(CLAIMS)
for (const jwt of [
  '',
  '.',
  '..',
  'a.b',
  `${good}.`,
  `${good}.x`,
  `${good}=`,
  ` ${good}`,
  `${good}\n`,
  good.replace('.', '..'),
  good.replaceAll('.', ' '),
  `${good.split('.').slice(0, 2).join('.')}.`,
  `é${good}`,
  `${'a'.repeat(16_000)}.${'a'.repeat(16_000)}.aa`,
]) {
  t.test(
    `${JSON.stringify(jwt.slice(0, 40))} (${jwt.length}) is refused without a look at the keys`,
    async (t) => {
      const keys: VerifierParts['keys'] = {
        algorithms: ['HS256'],
        version: 0,
        candidates: () => t.fail('the keys were asked') as never,
        close: () => {},
      }
      const { verifier } = await verifierWith({ keys })
      t.match(verifier.verify(jwt, 'access'), { code: 'token_invalid' })
    },
  )
}

t.test('attack: another spelling of the same signature is another token', async (t) => {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
  for (const last of alphabet) {
    const jwt = good.slice(0, -1) + last
    t.equal(await verdict(jwt), jwt === good ? 'verified' : 'token_invalid')
  }
})

t.test('attack: no mutation of a good token is admitted', async () => {
  const { verifier } = await verifierWith()
  const at = fc.nat(good.length - 1)
  const char = fc.constantFrom(...'ABCXYZabcxyz0189-_.=+/ ')
  const mutation = fc.oneof(
    fc.tuple(at, char).map(([i, c]) => good.slice(0, i) + c + good.slice(i + 1)),
    fc.tuple(at, char).map(([i, c]) => good.slice(0, i) + c + good.slice(i)),
    fc.tuple(at, fc.integer({ min: 1, max: 20 })).map(([i, n]) => good.slice(0, i) + good.slice(i + n)),
    fc.tuple(at, at).map(([i, j]) => good.slice(0, i) + good.slice(j)),
    fc.shuffledSubarray(good.split('.'), { minLength: 1 }).map((parts) => parts.join('.')),
  )
  await fc.assert(
    fc.asyncProperty(mutation, async (jwt) => {
      fc.pre(jwt !== good)
      const verification = await verifier.verify(jwt, 'access')
      return verification.kind === 'refused' && verification.code === 'token_invalid'
    }),
    { numRuns: 300 },
  )
})

/** A ring whose keys the test changes, and which answers when the test says so. */
async function changingRing() {
  const answer = Promise.withResolvers<void>()
  const inner = await ringOf(SECRET)
  const ring = {
    algorithms: inner.algorithms,
    version: 0,
    async candidates(header: Parameters<VerifierParts['keys']['candidates']>[0]) {
      await answer.promise
      return inner.candidates(header)
    },
    close: () => {},
  }
  return { ring, answer: answer.resolve }
}

t.test('a change of keys forgets what was verified with the old ones', async (t) => {
  const { ring, answer } = await changingRing()
  const { verifier } = await verifierWith({ keys: ring })
  answer()
  await verifier.verify(good, 'access')
  t.notOk(verifier.verify(good, 'access') instanceof Promise)
  ring.version++
  t.ok(verifier.verify(good, 'access') instanceof Promise)
})

t.test('a verification under way while keys change is not remembered', async (t) => {
  const { ring, answer } = await changingRing()
  const { verifier } = await verifierWith({ keys: ring })
  const pending = verifier.verify(good, 'access')
  ring.version++
  answer()
  t.match(await pending, { kind: 'verified' })
  t.ok(verifier.verify(good, 'access') instanceof Promise)
})

t.test('without a key to verify with it is a fault, not a refusal', async (t) => {
  const keys = await ringOf({ kind: 'jwks-url', url: 'http://issuer.invalid/keys' })
  t.teardown(() => keys.close())
  const { verifier } = await verifierWith({ keys })
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const jwt = await signToken({ claims: CLAIMS, key: privateKey, header: { alg: 'ES256' } })
  const failed = await Promise.resolve(verifier.verify(jwt, 'access')).then(
    (verification: Verification) => verification,
    (error: unknown) => error,
  )
  t.ok(failed instanceof GatewayError)
  t.match(failed, { code: 'token_store_unavailable' })
})

t.test('tokens with equal hashes in the memo are never confused', async (t) => {
  const seen = new Map<number, string>()
  let pair: readonly [string, string] | null = null
  // The birthday of 32 bits; the claims differ, and so do the signatures.
  for (let i = 0; pair === null && i < 1_000_000; i++) {
    const jwt = sign({ ...CLAIMS, jti: `t-${i}` })
    const key = hashText(jwt, jwt.length - 9, jwt.length - 1)
    const before = seen.get(key)
    if (before === undefined) seen.set(key, jwt)
    else pair = [before, jwt]
  }
  const [first, second] = pair!
  const { verifier } = await verifierWith()
  const jtiOf = async (jwt: string) => {
    const verified = await verifier.verify(jwt, 'access')
    return verified.kind === 'verified' ? verified.token.jti : verified.code
  }
  const own = (jwt: string) => JSON.parse(Buffer.from(jwt.split('.')[1]!, 'base64url').toString()).jti
  for (const jwt of [first, second, first, second]) t.equal(await jtiOf(jwt), own(jwt))
})

t.test('attack: another payload with the signature of a remembered token is refused', async (t) => {
  const { verifier } = await verifierWith()
  const jwt = sign(CLAIMS)
  t.match(await verifier.verify(jwt, 'access'), { kind: 'verified' })
  const [header, , signature] = jwt.split('.')
  const payload = Buffer.from(JSON.stringify({ ...CLAIMS, jti: 't-2' })).toString('base64url')
  t.match(await verifier.verify(`${header}.${payload}.${signature}`, 'access'), {
    kind: 'refused',
    code: 'token_invalid',
  })
  t.match(await verifier.verify(jwt, 'access'), { kind: 'verified', token: { jti: 't-1' } })
})
