import { generateKeyPairSync, type KeyObject } from 'node:crypto'
import t from 'tap'
import { createKeyRing } from '../../../gateway/auth/jwt/keys.ts'
import { createTokenVerifier } from '../../../gateway/auth/jwt/token-verifier.ts'
import { createFakeScheduler } from '../../support/fake-scheduler.ts'
import { inSeconds, signToken, TEST_SECRET } from '../../support/tokens.ts'

const CLAIMS = { jti: 't-1', exp: inSeconds(3600) }
const URL = 'https://issuer.example/jwks.json'
const COOLDOWN_MS = 10_000
const MAX_AGE_MS = 600_000

interface SigningKey {
  readonly privateKey: KeyObject
  readonly jwk: object
  readonly kid: string
}

function newKey(kid: string): SigningKey {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  return { kid, privateKey, jwk: { ...publicKey.export({ format: 'jwk' }), kid } }
}

const a = newKey('a')
const b = newKey('b')
const setOf = (...keys: SigningKey[]) => ({ keys: keys.map(({ jwk }) => jwk) })
const signed = ({ privateKey }: SigningKey, kid: string) =>
  signToken({ claims: CLAIMS, key: privateKey, header: { alg: 'ES256', kid } })
const byA = await signed(a, 'a')
const byB = await signed(b, 'b')

/** A ring whose issuer answers with `issuer.answer`, an error being no answer. */
async function open(answer: unknown) {
  const scheduler = createFakeScheduler()
  const issuer = { answer, fetched: 0, held: Promise.resolve() }
  const errors: string[] = []
  const warnings: string[] = []
  const causes: string[] = []
  const keys = await createKeyRing(
    { kind: 'jwks-url', url: URL },
    {
      scheduler,
      async fetchJson(url) {
        if (url !== URL) throw new TypeError(`fetched ${url}`)
        issuer.fetched++
        await issuer.held
        if (issuer.answer instanceof Error) throw issuer.answer
        return issuer.answer
      },
      log: {
        info: () => {},
        warn: (_fields, message) => warnings.push(message),
        error(fields, message) {
          errors.push(message)
          causes.push(String((fields as { err: unknown }).err))
        },
      },
      algorithms: null,
    },
  )
  t.teardown(() => keys.close())
  const verifier = createTokenVerifier({
    keys,
    issuer: null,
    audience: null,
    clockToleranceS: 0,
    wallClock: Date.now,
    memoMax: 10,
  })
  const verdict = async (jwt: string) => {
    try {
      return (await verifier.verify(jwt, 'access')).kind
    } catch (error) {
      return (error as { code: string }).code
    }
  }
  return { scheduler, issuer, errors, causes, warnings, verdict, keys }
}

t.test('a key set is fetched once for many tokens', async (t) => {
  const { issuer, verdict } = await open(setOf(a, b))
  const jwts = await Promise.all(
    Array.from({ length: 20 }, (_, i) =>
      signToken({
        claims: { ...CLAIMS, jti: String(i) },
        key: a.privateKey,
        header: { alg: 'ES256', kid: 'a' },
      }),
    ),
  )
  for (const jwt of jwts) t.equal(await verdict(jwt), 'verified')
  t.equal(await verdict(byB), 'verified')
  t.equal(issuer.fetched, 1)
})

t.test('an unknown kid has the set fetched again, and the new key verifies at once', async (t) => {
  const { issuer, verdict } = await open(setOf(a))
  t.equal(await verdict(byA), 'verified')
  issuer.answer = setOf(a, b)
  t.equal(await verdict(byB), 'verified')
  t.equal(issuer.fetched, 2)
})

t.test('attack: a flood of unknown kids causes one fetch in each cooldown', async (t) => {
  const { scheduler, issuer, verdict } = await open(setOf(a))
  await verdict(byA)
  for (let i = 0; i < 50; i++) t.equal(await verdict(await signed(b, `kid-${i}`)), 'refused')
  t.equal(issuer.fetched, 2)
  await scheduler.advance(COOLDOWN_MS - 1)
  t.equal(await verdict(byB), 'refused')
  t.equal(issuer.fetched, 2)
  await scheduler.advance(1)
  issuer.answer = setOf(a, b)
  t.equal(await verdict(byB), 'verified')
  t.equal(issuer.fetched, 3)
})

t.test('tokens of a new key that arrive together share a fetch', async (t) => {
  const { issuer, verdict } = await open(setOf(a))
  await verdict(byA)
  const { promise, resolve } = Promise.withResolvers<void>()
  issuer.held = promise
  issuer.answer = setOf(b)
  const verdicts = Array.from({ length: 5 }, () => verdict(byB))
  const known = await verdict(await signed(a, 'a'))
  resolve()
  t.same(await Promise.all(verdicts), Array(5).fill('verified'))
  t.equal(known, 'verified')
  t.equal(issuer.fetched, 2)
})

for (const [what, answer] of [
  ['does not answer', new Error('connection refused')],
  ['answers with no key set', { hello: 'world' }],
  ['answers with null', null],
  ['answers with keys that are none', { keys: [1] }],
  ['answers with no key', { keys: [] }],
  ['answers with symmetric keys alone', { keys: [{ kty: 'oct', k: 'c2VjcmV0' }] }],
] as const) {
  t.test(`the last good set stays in force where the issuer ${what}`, async (t) => {
    const { scheduler, issuer, errors, verdict, keys } = await open(setOf(a))
    t.equal(await verdict(byA), 'verified')
    issuer.answer = answer
    await scheduler.advance(MAX_AGE_MS)
    t.equal(issuer.fetched, 2)
    t.match(errors, ['the key set cannot be fetched; the last good one stays in force'])
    t.equal(await verdict(await signed(a, 'a')), 'verified')
    t.equal(keys.state, 'outdated')
  })
}

t.test(
  'a key withdrawn by the issuer is dropped within the age limit, also for remembered tokens',
  async (t) => {
    const { scheduler, issuer, verdict } = await open(setOf(a, b))
    t.equal(await verdict(byA), 'verified')
    issuer.answer = setOf(b)
    await scheduler.advance(MAX_AGE_MS)
    t.equal(await verdict(byA), 'refused')
    t.equal(await verdict(byB), 'verified')
  },
)

t.test('a withdrawn key is dropped soon after a failed fetch, and not after another age limit', async (t) => {
  const { scheduler, issuer, verdict } = await open(setOf(a, b))
  t.equal(await verdict(byA), 'verified')
  issuer.answer = new Error('connection refused')
  await scheduler.advance(MAX_AGE_MS)
  issuer.answer = setOf(b)
  await scheduler.advance(60_000)
  t.equal(await verdict(byA), 'refused')
})

t.test('a set that is fetched again without a change keeps the remembered tokens', async (t) => {
  const { scheduler, keys, issuer, verdict } = await open(setOf(a))
  await verdict(byA)
  const { version } = keys
  await scheduler.advance(MAX_AGE_MS)
  t.equal(issuer.fetched, 2)
  t.equal(keys.version, version)
})

t.test('until a set was fetched a token is a fault, and the first set is used at once', async (t) => {
  const { scheduler, issuer, verdict } = await open(new Error('connection refused'))
  for (let i = 0; i < 10; i++) t.equal(await verdict(byA), 'token_store_unavailable')
  t.equal(issuer.fetched, 1)
  issuer.answer = setOf(a)
  await scheduler.advance(1000)
  t.equal(issuer.fetched, 2)
  t.equal(await verdict(byA), 'verified')
})

t.test('attack: a symmetric key in a public set verifies nothing', async (t) => {
  const oct = { kty: 'oct', kid: 'oct', k: Buffer.from(TEST_SECRET).toString('base64url') }
  const { verdict } = await open({ keys: [a.jwk, oct, { ...oct, alg: 'HS256' }] })
  for (const kid of ['oct', undefined]) {
    t.equal(await verdict(await signToken({ claims: CLAIMS, header: { kid } })), 'refused')
  }
  t.equal(await verdict(byA), 'verified')
})

t.test('attack: a private key that the issuer published by mistake verifies nothing', async (t) => {
  const { verdict } = await open({ keys: [b.jwk, { ...a.privateKey.export({ format: 'jwk' }), kid: 'a' }] })
  t.equal(await verdict(byA), 'refused')
  t.equal(await verdict(byB), 'verified')
})

t.test('an RSA key under 2048 bits verifies nothing', async (t) => {
  const { publicKey } = generateKeyPairSync('rsa', { modulusLength: 1024 })
  const { verdict } = await open({ keys: [b.jwk, { ...publicKey.export({ format: 'jwk' }), kid: 'weak' }] })
  const head = Buffer.from('{"alg":"RS256","kid":"weak"}').toString('base64url')
  t.equal(await verdict(`${head}.e30.${Buffer.alloc(128, 1).toString('base64url')}`), 'refused')
})

t.test('keys of a set that cannot be used are logged once, and the other keys verify', async (t) => {
  const koblitz = generateKeyPairSync('ec', { namedCurve: 'secp256k1' }).publicKey.export({ format: 'jwk' })
  const odd = [{ ...koblitz, kid: 'k1' }, { kty: 'XYZ' }, null, { ...b.jwk, use: 'enc' }]
  const { scheduler, issuer, warnings, errors, verdict, keys } = await open({ keys: [...odd, a.jwk] })
  t.equal(await verdict(byA), 'verified')
  t.equal(await verdict(byB), 'refused')
  t.match(warnings, [
    /^the key set: key 1 \("k1"\) is of the kind EC on secp256k1; .*passed over$/,
    /^the key set: key 2 cannot be read \(kty "XYZ"\); .*passed over$/,
    /^the key set: key 3 is no object; .*passed over$/,
    /^the key set: key 4 \("b"\) has the use "enc"; .*passed over$/,
  ])
  await scheduler.advance(MAX_AGE_MS)
  t.equal(issuer.fetched, 3, 'once for the kid that is passed over, once for the age')
  t.equal(warnings.length, 4)
  t.same([errors, keys.state], [[], 'current'])
})

t.test('a set without a usable key is an error that names all its keys', async (t) => {
  const { causes, keys } = await open({
    keys: [
      { kty: 'XYZ', kid: 'x' },
      { ...b.jwk, use: 'enc' },
    ],
  })
  await Promise.resolve(keys.candidates({ alg: 'ES256' })).catch(() => {})
  t.match(causes, [
    /no key that can be used.*\n.*key 1 \("x"\) cannot be read.*\n.*key 2 \("b"\) has the use/,
  ])
  t.equal(keys.state, 'none')
})

t.test('a closed key ring fetches nothing', async (t) => {
  const { scheduler, keys, issuer, verdict } = await open(setOf(a))
  await verdict(byA)
  keys.close()
  await scheduler.advance(MAX_AGE_MS * 2)
  t.equal(issuer.fetched, 1)
})
