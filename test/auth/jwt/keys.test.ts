import { createPrivateKey, generateKeyPairSync, type KeyObject } from 'node:crypto'
import { mkdir, rename, rm, symlink, writeFile } from 'node:fs/promises'
import t, { type Test } from 'tap'
import type { KeySource } from '../../../gateway/auth/jwt/key-ring.ts'
import { createKeyRing, KeyError } from '../../../gateway/auth/jwt/keys.ts'
import { createTokenVerifier } from '../../../gateway/auth/jwt/token-verifier.ts'
import { createFakeScheduler } from '../../support/fake-scheduler.ts'
import { inSeconds, signToken, TEST_SECRET } from '../../support/tokens.ts'

const CLAIMS = { jti: 't-1', exp: inSeconds(3600) }

/** A certificate of nobody's, and its key. */
const CERTIFICATE = `-----BEGIN CERTIFICATE-----
MIIBhzCCAS2gAwIBAgIUO8ZPicIvjsa0qmwrMeV1moeXQt4wCgYIKoZIzj0EAwIw
GDEWMBQGA1UEAwwNZ2F0ZXdheS10ZXN0czAgFw0yNjExMjMxOTQ0MzZaGA8yMTI2
MTAzMDE5NDQzNlowGDEWMBQGA1UEAwwNZ2F0ZXdheS10ZXN0czBZMBMGByqGSM49
AgEGCCqGSM49AwEHA0IABMahVQwyJ27P7rZGZaWekkhAtN5BGTBUWJNQtQXwHWrZ
MLAqvIxpG1PRMzB/CQ+NtTujYMsdPcu3Qy7gh4f0ZJ2jUzBRMB0GA1UdDgQWBBRD
S44+q61vv7rK50cZhqrGvJMAjjAfBgNVHSMEGDAWgBRDS44+q61vv7rK50cZhqrG
vJMAjjAPBgNVHRMBAf8EBTADAQH/MAoGCCqGSM49BAMCA0gAMEUCIHUAV4PxHSj8
1ADoMJGMfrxqxMVeRcLVqpU6JIUWaPL/AiEAl69VJ6U5rAnD8os1o3IV+2CYzP0O
R+EkEIfaI7GuHyA=
-----END CERTIFICATE-----
`
const CERTIFICATE_KEY = createPrivateKey(`-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgYB40Fi2pq8X0M7cp
shLyNm8uxaZdPzaeuzxFxSeemlahRANCAATGoVUMMiduz+62RmWlnpJIQLTeQRkw
VFiTULUF8B1q2TCwKryMaRtT0TMwfwkPjbU7o2DLHT3Lt0Mu4IeH9GSd
-----END PRIVATE KEY-----
`)

const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 })
const weak = generateKeyPairSync('rsa', { modulusLength: 1024 })
const p256 = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const other = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const p384 = generateKeyPairSync('ec', { namedCurve: 'P-384' })
const p521 = generateKeyPairSync('ec', { namedCurve: 'P-521' })
const ed25519 = generateKeyPairSync('ed25519')
const x25519 = generateKeyPairSync('x25519')

const pem = (key: KeyObject) => key.export({ type: 'spki', format: 'pem' }).toString()
const jwk = (key: KeyObject, fields: object = {}) => ({
  ...key.export({ format: 'jwk' }),
  ...fields,
})
const jwks = (...keys: object[]) => JSON.stringify({ keys })

/** Opens a ring; what it logs can be awaited. */
async function open(t: Test, source: KeySource, algorithms: readonly string[] | null = null) {
  const scheduler = createFakeScheduler()
  const messages: string[] = []
  const warnings: string[] = []
  let onMessage = () => {}
  const record = (_fields: object, message: string) => {
    messages.push(message)
    onMessage()
  }
  const keys = await createKeyRing(source, {
    scheduler,
    fetchJson: () => Promise.reject(new Error('nothing is fetched here')),
    log: { info: record, error: record, warn: (_fields, message) => warnings.push(message) },
    algorithms,
  })
  t.teardown(() => keys.close())
  const verifier = createTokenVerifier({
    keys,
    issuer: null,
    audience: null,
    clockToleranceS: 0,
    wallClock: Date.now,
    memoMax: 10,
  })
  return {
    keys,
    scheduler,
    messages,
    warnings,
    verdict: async (jwt: string) => (await verifier.verify(jwt, 'access')).kind,
    /** Lets a second pass, and waits for the next message of the ring. */
    async nextMessage() {
      const { promise, resolve } = Promise.withResolvers<void>()
      onMessage = resolve
      await scheduler.advance(1000)
      await promise
      return messages.at(-1)
    },
  }
}

function publicFile(t: Test, content: string): KeySource {
  return { kind: 'public-key-file', path: `${t.testdir({ key: content })}/key` }
}

const signed = (key: KeyObject, header: Record<string, unknown>) => signToken({ claims: CLAIMS, key, header })

for (const [what, content, key, algorithms] of [
  ['an RSA key', pem(rsa.publicKey), rsa.privateKey, ['RS256', 'PS256']],
  ['a P-256 key', pem(p256.publicKey), p256.privateKey, ['ES256']],
  ['a P-384 key', pem(p384.publicKey), p384.privateKey, ['ES384']],
  ['a P-521 key', pem(p521.publicKey), p521.privateKey, ['ES512']],
  ['an Ed25519 key', pem(ed25519.publicKey), ed25519.privateKey, ['EdDSA', 'Ed25519']],
  ['a certificate', CERTIFICATE, CERTIFICATE_KEY, ['ES256']],
  ['a JWK', JSON.stringify(jwk(p256.publicKey)), p256.privateKey, ['ES256']],
  ['a JWKS', jwks(jwk(p256.publicKey)), p256.privateKey, ['ES256']],
] as const) {
  t.test(`${what} verifies ${algorithms.join(' and ')}`, async (t) => {
    const { verdict } = await open(t, publicFile(t, content))
    for (const alg of algorithms) t.equal(await verdict(await signed(key, { alg })), 'verified')
  })
}

t.test('a key verifies no algorithm of another kind, and no signature of another key', async (t) => {
  const { verdict } = await open(t, publicFile(t, pem(p256.publicKey)))
  t.equal(await verdict(await signed(other.privateKey, { alg: 'ES256' })), 'refused')
  t.equal(await verdict(await signed(p384.privateKey, { alg: 'ES384' })), 'refused')
  t.equal(await verdict(await signed(rsa.privateKey, { alg: 'RS256' })), 'refused')
  t.equal(await verdict(await signed(ed25519.privateKey, { alg: 'EdDSA' })), 'refused')
})

t.test('a JWK with an alg verifies that algorithm only', async (t) => {
  const { verdict } = await open(t, publicFile(t, JSON.stringify(jwk(rsa.publicKey, { alg: 'PS256' }))))
  t.equal(await verdict(await signed(rsa.privateKey, { alg: 'PS256' })), 'verified')
  t.equal(await verdict(await signed(rsa.privateKey, { alg: 'RS256' })), 'refused')
})

t.test('JWT_ALGORITHMS restricts the algorithms of a key, and allows longer hashes', async (t) => {
  const { verdict } = await open(t, publicFile(t, pem(rsa.publicKey)), ['RS384'])
  t.equal(await verdict(await signed(rsa.privateKey, { alg: 'RS384' })), 'verified')
  t.equal(await verdict(await signed(rsa.privateKey, { alg: 'RS256' })), 'refused')
})

t.test('a token is verified with the key of its kid', async (t) => {
  const set = jwks(jwk(p256.publicKey, { kid: 'a' }), jwk(other.publicKey, { kid: 'b' }))
  const { verdict } = await open(t, publicFile(t, set))
  t.equal(await verdict(await signed(p256.privateKey, { alg: 'ES256', kid: 'a' })), 'verified')
  t.equal(await verdict(await signed(other.privateKey, { alg: 'ES256', kid: 'b' })), 'verified')
  t.equal(await verdict(await signed(p256.privateKey, { alg: 'ES256', kid: 'b' })), 'refused')
  t.equal(await verdict(await signed(p256.privateKey, { alg: 'ES256', kid: 'c' })), 'refused')
})

t.test("a single key that has no name is for every token, whatever the token's kid", async (t) => {
  for (const content of [
    pem(p256.publicKey),
    JSON.stringify(jwk(p256.publicKey)),
    jwks(jwk(p256.publicKey)),
  ]) {
    const { verdict } = await open(t, publicFile(t, content))
    t.equal(await verdict(await signed(p256.privateKey, { alg: 'ES256', kid: '2026-11' })), 'verified')
    t.equal(await verdict(await signed(other.privateKey, { alg: 'ES256', kid: '2026-11' })), 'refused')
  }
  const named = await open(t, publicFile(t, JSON.stringify(jwk(p256.publicKey, { kid: 'a' }))))
  t.equal(await named.verdict(await signed(p256.privateKey, { alg: 'ES256', kid: 'b' })), 'refused')
})

t.test('a token without a kid is verified with any key of the set that fits its algorithm', async (t) => {
  for (const set of [
    jwks(jwk(p256.publicKey, { kid: 'a' }), jwk(other.publicKey, { kid: 'b' })),
    jwks(jwk(p256.publicKey), jwk(other.publicKey)),
    jwks(jwk(p256.publicKey, { kid: 'a' }), jwk(rsa.publicKey, { kid: 'b' })),
  ]) {
    const { verdict } = await open(t, publicFile(t, set))
    t.equal(await verdict(await signed(p256.privateKey, { alg: 'ES256' })), 'verified')
    t.equal(await verdict(await signed(p384.privateKey, { alg: 'ES384' })), 'refused')
  }
  const { verdict } = await open(t, publicFile(t, jwks(jwk(p256.publicKey), jwk(rsa.publicKey))))
  t.equal(await verdict(await signed(other.privateKey, { alg: 'ES256' })), 'refused', 'a forged one is not')
})

t.test('a token whose kid no key has is verified with the keys without a kid', async (t) => {
  const set = jwks(jwk(p256.publicKey, { kid: 'a' }), jwk(other.publicKey))
  const { verdict } = await open(t, publicFile(t, set))
  t.equal(await verdict(await signed(other.privateKey, { alg: 'ES256', kid: 'b' })), 'verified')
  t.equal(await verdict(await signed(other.privateKey, { alg: 'ES256', kid: 'a' })), 'refused')
  t.equal(await verdict(await signed(p256.privateKey, { alg: 'ES256', kid: 'b' })), 'refused')
})

t.test('a key for encryption verifies nothing', async (t) => {
  const set = jwks(jwk(p256.publicKey, { kid: 'a', use: 'enc' }), jwk(other.publicKey, { kid: 'b' }))
  const { verdict } = await open(t, publicFile(t, set))
  t.equal(await verdict(await signed(p256.privateKey, { alg: 'ES256', kid: 'a' })), 'refused')
})

const pkcs8 = (key: KeyObject) => key.export({ type: 'pkcs8', format: 'pem' }).toString()
for (const [what, content, expected] of [
  ['a private key in PEM', pkcs8(p256.privateKey), 'holds a private key; expected public keys alone'],
  ['a private JWK', JSON.stringify(jwk(p256.privateKey)), 'is private; expected the public part alone'],
  ['a set with a private key', jwks(jwk(p256.privateKey, { kid: 'a' })), 'key 1 [(]"a"[)] is private'],
  ['a symmetric JWK', JSON.stringify({ kty: 'oct', k: 'c2VjcmV0' }), 'is symmetric; expected a public key'],
  ['an RSA key of 1024 bits', pem(weak.publicKey), 'has 1024 bits; expected at least 2048'],
  ['a set with a weak key', jwks(jwk(weak.publicKey, { kid: 'w' })), 'key 1 [(]"w"[)] has 1024 bits'],
  ['a key for key agreement', pem(x25519.publicKey), 'is of the kind x25519; expected RSA, EC'],
  [
    'a key for encryption alone',
    jwks(jwk(p256.publicKey, { use: 'enc' })),
    'has the use "enc"; expected "sig"',
  ],
  ['an empty set', jwks(), 'holds no keys; expected at least one'],
  ['a set of null', '{"keys":[null]}', 'key 1 is no object; expected a JWK'],
  ['an object that is no key', '{"a":1}', 'key 1 cannot be read .*; expected a public key: RSA, EC'],
  ['broken JSON', '{"keys":', 'is not valid JSON; expected PEM, a JWK or a JWKS'],
  ['an empty file', '', 'expected a PEM public key or certificate, a JWK or a JWKS'],
  ['a secret', TEST_SECRET, 'expected a PEM public key or certificate, a JWK or a JWKS'],
] as const) {
  t.test(`${what} is refused at the start, with the file's name and what was expected`, async (t) => {
    const source = publicFile(t, content)
    const error = await open(t, source).catch((thrown: unknown) => thrown)
    t.ok(error instanceof KeyError)
    t.match(error, { message: new RegExp(`/key(:1)?: .*${expected}`) })
  })
}

t.test('a key that fits none of JWT_ALGORITHMS is refused at the start', async (t) => {
  await t.rejects(open(t, publicFile(t, pem(p256.publicKey)), ['RS256']), {
    message: /key 1 is EC on prime256v1, for ES256; expected a key that fits the algorithms RS256/,
  })
})

for (const kind of ['secret-file', 'public-key-file'] as const) {
  t.test(`a ${kind} that is missing is refused at the start`, async (t) => {
    const path = `${t.testdir()}/none`
    await t.rejects(open(t, { kind, path }), {
      name: 'KeyError',
      message: `${path}: cannot be read (ENOENT); expected a readable key file`,
    })
  })
}

t.test('a secret file that is too short is refused, and its content not repeated', async (t) => {
  const path = `${t.testdir({ secret: 'hunter2\n' })}/secret`
  await t.rejects(open(t, { kind: 'secret-file', path }), {
    message: `${path}: the secret has 7 bytes; expected at least 32`,
  })
})

t.test('the line break at the end of a secret file is not part of the secret', async (t) => {
  const path = `${t.testdir({ secret: `${TEST_SECRET}\r\n` })}/secret`
  const { verdict, keys } = await open(t, { kind: 'secret-file', path })
  t.equal(await verdict(await signToken({ claims: CLAIMS })), 'verified')
  t.same(
    keys.secrets.map((secret) => secret.export().toString()),
    [TEST_SECRET],
  )
})

t.test('a ring of public keys has no secret to sign with', async (t) => {
  const { keys } = await open(t, publicFile(t, pem(p256.publicKey)))
  t.same(keys.secrets, [])
})

const OLD = 'the old secret, which is long enough too'
// Of another length: two writes within a tick of the file system's clock have the same time.
const NEW = 'the new secret, which is longer than the old one'
const oldToken = await signToken({ claims: CLAIMS, secret: OLD })
const newToken = await signToken({ claims: CLAIMS, secret: NEW })

t.test('a rewritten file is in force within a second, and its old key refused', async (t) => {
  const path = `${t.testdir({ secret: OLD })}/secret`
  const ring = await open(t, { kind: 'secret-file', path })
  t.equal(await ring.verdict(oldToken), 'verified')
  await writeFile(path, NEW)
  t.match(await ring.nextMessage(), 'the new key is in force')
  t.equal(await ring.verdict(newToken), 'verified')
  t.equal(await ring.verdict(oldToken), 'refused')
})

t.test('a file that is replaced by a rename is in force within a second', async (t) => {
  const folder = t.testdir({ secret: OLD, next: NEW })
  const ring = await open(t, { kind: 'secret-file', path: `${folder}/secret` })
  await rename(`${folder}/next`, `${folder}/secret`)
  t.match(await ring.nextMessage(), 'the new key is in force')
  t.equal(await ring.verdict(newToken), 'verified')
})

t.test(
  'a folder that is swapped behind a symlink, as by Kubernetes, is in force within a second',
  async (t) => {
    const folder = t.testdir({ one: { secret: OLD }, two: { secret: NEW } })
    await symlink('one', `${folder}/..data`)
    await symlink('..data/secret', `${folder}/secret`)
    const ring = await open(t, { kind: 'secret-file', path: `${folder}/secret` })
    t.equal(await ring.verdict(oldToken), 'verified')
    await symlink('two', `${folder}/..data_tmp`)
    await rename(`${folder}/..data_tmp`, `${folder}/..data`)
    t.match(await ring.nextMessage(), 'the new key is in force')
    t.equal(await ring.verdict(newToken), 'verified')
    t.equal(await ring.verdict(oldToken), 'refused')
  },
)

for (const [what, spoil] of [
  ['is too short', (path: string) => writeFile(path, 'short')],
  ['is empty', (path: string) => writeFile(path, '')],
  ['has gone', (path: string) => rm(path)],
  ['has become a folder', (path: string) => rm(path).then(() => mkdir(path))],
] as const) {
  t.test(`the last good key stays in force while the file ${what}, until a good one comes`, async (t) => {
    const path = `${t.testdir({ secret: OLD })}/secret`
    const ring = await open(t, { kind: 'secret-file', path })
    await spoil(path)
    t.match(await ring.nextMessage(), 'the last good key stays in force')
    t.equal(await ring.verdict(oldToken), 'verified')
    t.equal(ring.keys.state, 'outdated')
    await rm(path, { recursive: true, force: true })
    await writeFile(path, NEW)
    t.match(await ring.nextMessage(), 'the new key is in force')
    t.equal(await ring.verdict(newToken), 'verified')
    t.equal(ring.keys.state, 'current')
  })
}

t.test(
  'secrets are rotated in steps, and a token is good as long as its secret is in the file',
  async (t) => {
    const path = `${t.testdir({ secret: OLD })}/secret`
    const ring = await open(t, { kind: 'secret-file', path })
    const signing = () => ring.keys.secrets[0]?.export().toString()
    for (const [lines, old, renewed] of [
      [[OLD, NEW], 'verified', 'verified'],
      [[NEW, '', OLD], 'verified', 'verified'],
      [[NEW], 'refused', 'verified'],
    ] as const) {
      await writeFile(path, lines.join('\r\n'))
      t.match(await ring.nextMessage(), 'the new key is in force')
      t.equal(await ring.verdict(oldToken), old)
      t.equal(await ring.verdict(newToken), renewed)
      t.equal(signing(), lines[0])
    }
  },
)

t.test('a second secret that is too short leaves all of the last good file in force', async (t) => {
  const path = `${t.testdir({ secret: OLD })}/secret`
  const ring = await open(t, { kind: 'secret-file', path })
  await writeFile(path, `${NEW}\nshort\n`)
  t.match(await ring.nextMessage(), 'the last good key stays in force')
  t.equal(await ring.verdict(oldToken), 'verified')
  t.equal(await ring.verdict(newToken), 'refused')
})

for (const alg of ['HS384', 'HS512']) {
  t.test(`every secret of a file is good for ${alg} where JWT_ALGORITHMS allows it`, async (t) => {
    const path = `${t.testdir({ secret: `${NEW.repeat(2)}\n${OLD.repeat(2)}\n` })}/secret`
    const { verdict } = await open(t, { kind: 'secret-file', path }, [alg])
    for (const secret of [NEW.repeat(2), OLD.repeat(2)]) {
      t.equal(await verdict(await signToken({ claims: CLAIMS, secret, header: { alg } })), 'verified')
      t.equal(await verdict(await signToken({ claims: CLAIMS, secret })), 'refused')
    }
  })
}

t.test(
  'the warnings of a changed file are logged at its reload, and those of the first file are not',
  async (t) => {
    const path = `${t.testdir({ secret: `"${OLD}"` })}/secret`
    const ring = await open(t, { kind: 'secret-file', path })
    t.same(ring.warnings, [])
    await writeFile(path, `${NEW}\n"${OLD}"\n`)
    await ring.nextMessage()
    t.match(ring.warnings, [`${path}:2: the secret is in quotes`])
  },
)

t.test('a key that is added to a file verifies, and an unusable one beside it is logged', async (t) => {
  const source = publicFile(t, pem(p256.publicKey))
  const ring = await open(t, source)
  const path = 'path' in source ? source.path : ''
  await writeFile(path, pem(p256.publicKey) + pem(x25519.publicKey) + pem(other.publicKey))
  t.match(await ring.nextMessage(), 'the new key is in force')
  for (const { privateKey } of [p256, other])
    t.equal(await ring.verdict(await signed(privateKey, { alg: 'ES256' })), 'verified')
  t.match(ring.warnings, [/key:5: key 2 is of the kind x25519; .*; the key is passed over$/])
  await writeFile(path, pem(other.publicKey))
  await ring.nextMessage()
  t.equal(await ring.verdict(await signed(p256.privateKey, { alg: 'ES256' })), 'refused')
})

t.test('attack: a public key file that becomes a secret leaves the public keys in force', async (t) => {
  const source = publicFile(t, pem(p256.publicKey))
  const ring = await open(t, source)
  if ('path' in source) await writeFile(source.path, JSON.stringify({ kty: 'oct', k: 'c2VjcmV0' }))
  t.match(await ring.nextMessage(), 'the last good key stays in force')
  t.equal(await ring.verdict(await signed(p256.privateKey, { alg: 'ES256' })), 'verified')
})

t.test('a closed key ring does not read its file again', async (t) => {
  const { keys, scheduler } = await open(t, publicFile(t, pem(p256.publicKey)))
  t.equal(scheduler.due.length, 1)
  keys.close()
  t.same(scheduler.due, [])
})
