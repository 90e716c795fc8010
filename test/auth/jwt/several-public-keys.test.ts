import { createHmac, createPrivateKey, generateKeyPairSync, type KeyObject } from 'node:crypto'
import t from 'tap'
import { KeyError } from '../../../gateway/auth/jwt/key-error.ts'
import { parsePublicKeys } from '../../../gateway/auth/jwt/key-files.ts'
import { createKeySet } from '../../../gateway/auth/jwt/key-set.ts'
import { createTokenVerifier, type VerifierParts } from '../../../gateway/auth/jwt/token-verifier.ts'
import { createAuthority } from '../../support/certificates.ts'
import { forgeToken, inSeconds, signToken } from '../../support/tokens.ts'

const CLAIMS = { jti: 't-1', exp: inSeconds(3600) }
const PATH = '/etc/jwt.pem'

const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 })
const weak = generateKeyPairSync('rsa', { modulusLength: 1024 })
const pss = generateKeyPairSync('rsa-pss', { modulusLength: 2048 })
const dsa = generateKeyPairSync('dsa', { modulusLength: 2048, divisorLength: 256 })
// The types know no such keys.
const dh = generateKeyPairSync('dh' as 'x25519', { group: 'modp14' } as object)
const a = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const b = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const stranger = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const p384 = generateKeyPairSync('ec', { namedCurve: 'P-384' })
const koblitz = generateKeyPairSync('ec', { namedCurve: 'secp256k1' })
const ed25519 = generateKeyPairSync('ed25519')
const ed448 = generateKeyPairSync('ed448')
const x25519 = generateKeyPairSync('x25519')

const pem = (key: KeyObject) => key.export({ type: 'spki', format: 'pem' }).toString()
const jwk = (key: KeyObject, fields: object = {}) => ({ ...key.export({ format: 'jwk' }), ...fields })
const jwks = (...keys: unknown[]) => JSON.stringify({ keys })
const signed = (key: KeyObject, alg: string, header: object = {}) =>
  signToken({ claims: CLAIMS, key, header: { alg, ...header } })

function parse(content: string | Buffer, algorithms: readonly string[] | null = null) {
  return parsePublicKeys(Buffer.from(content as string), PATH, algorithms)
}

/** Why a file is refused, one reason each. */
function reasonsOf(content: string | Buffer, algorithms: readonly string[] | null = null): readonly string[] {
  try {
    parse(content, algorithms)
    return []
  } catch (error) {
    if (error instanceof KeyError) return error.reasons
    throw error
  }
}

/** Verifies with the keys of a file; counts how many keys a token is tried with. */
function verifierOf(content: string, algorithms = ['RS256', 'PS256', 'ES256', 'ES384', 'EdDSA', 'Ed25519']) {
  const set = createKeySet(parse(content).keys)
  const offered: number[] = []
  const keys: VerifierParts['keys'] = {
    algorithms,
    version: 0,
    candidates(header) {
      const named = set.named(header)
      const found = named.length > 0 ? named : set.unnamed(header)
      offered.push(found.length)
      return found
    },
    close() {},
  }
  const verifier = createTokenVerifier({
    keys,
    issuer: null,
    audience: null,
    clockToleranceS: 0,
    wallClock: Date.now,
    memoMax: 10,
  })
  return { offered, verdict: async (jwt: string) => (await verifier.verify(jwt, 'access')).kind }
}

t.test('every key of a PEM file verifies, with any text between the blocks', async (t) => {
  const authority = createAuthority(t, 'issuer')
  const content = `Bag Attributes
    localKeyID: 01
subject=CN = issuer
${authority.cert}
Public-Key: (2048 bit)\r
${pem(rsa.publicKey).replaceAll('\n', '\r\n')}
# the new one
${pem(a.publicKey)}${pem(ed25519.publicKey)}`
  const { verdict } = verifierOf(content)
  t.equal(await verdict(await signed(createPrivateKey(authority.key), 'ES256')), 'verified')
  t.equal(await verdict(await signed(rsa.privateKey, 'RS256')), 'verified')
  t.equal(await verdict(await signed(rsa.privateKey, 'PS256')), 'verified')
  t.equal(await verdict(await signed(a.privateKey, 'ES256')), 'verified')
  t.equal(await verdict(await signed(ed25519.privateKey, 'EdDSA')), 'verified')
  t.same(parse(content).warnings, [])
})

t.test(
  'a token whose kid no key has is tried with every key without a kid, in the order of the file',
  async (t) => {
    const { verdict, offered } = verifierOf(pem(a.publicKey) + pem(rsa.publicKey) + pem(b.publicKey))
    t.equal(await verdict(await signed(b.privateKey, 'ES256', { kid: '2026-11' })), 'verified')
    t.equal(await verdict(await signed(a.privateKey, 'ES256', { kid: '2026-10' })), 'verified')
    t.same(offered, [2, 2], 'keys of another kind are not tried')
  },
)

t.test('keys with the same kid are all tried, also where a key is there twice', async (t) => {
  const set = jwks(jwk(a.publicKey, { kid: 'k' }), jwk(b.publicKey, { kid: 'k' }), jwk(a.publicKey))
  const { verdict } = verifierOf(set)
  t.equal(await verdict(await signed(b.privateKey, 'ES256', { kid: 'k' })), 'verified')
  t.equal(await verdict(await signed(a.privateKey, 'ES256', { kid: 'k' })), 'verified')
  t.equal(await verdict(await signed(stranger.privateKey, 'ES256', { kid: 'k' })), 'refused')
  const twice = verifierOf(pem(a.publicKey) + pem(a.publicKey))
  t.equal(await twice.verdict(await signed(a.privateKey, 'ES256')), 'verified')
})

const UNUSABLE: readonly (readonly [string, string, object | null, RegExp])[] = [
  ['a weak RSA key', pem(weak.publicKey), jwk(weak.publicKey), /has 1024 bits; expected at least 2048/],
  [
    'a key on secp256k1',
    pem(koblitz.publicKey),
    jwk(koblitz.publicKey),
    /EC on secp256k1; expected RSA, EC on/,
  ],
  ['an X25519 key', pem(x25519.publicKey), jwk(x25519.publicKey), /of the kind x25519; expected RSA/],
  ['an Ed448 key', pem(ed448.publicKey), jwk(ed448.publicKey), /of the kind ed448; expected RSA/],
  ['a DSA key', pem(dsa.publicKey), null, /of the kind dsa; expected RSA/],
  ['a DH key', pem(dh.publicKey), null, /of the kind dh; expected RSA/],
  ['an RSA-PSS key', pem(pss.publicKey), null, /of the kind rsa-pss; expected RSA/],
  [
    'a block that is spoilt',
    pem(b.publicKey).replace('MFkw', 'MFkA'),
    { ...jwk(b.publicKey), x: 'AAAA' },
    /cannot be read.*; expected a/,
  ],
  [
    'a block without an end',
    pem(b.publicKey).split('-----END')[0]!,
    { kty: 'EC' },
    /has no last line; expected -----END PUBLIC KEY-----|cannot be read/,
  ],
  [
    'a block of another kind',
    '-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n',
    { kty: 'AKP', alg: 'ML-DSA-44', pub: 'AAAA' },
    /is EC PARAMETERS; expected one of PUBLIC KEY|cannot be read/,
  ],
]
for (const [what, block, key, reason] of UNUSABLE) {
  t.test(`${what} in a PEM file is passed over with a warning while another key can be used`, async (t) => {
    const { keys, warnings } = parse(`${block}\n${pem(a.publicKey)}`)
    t.equal(keys.length, 1)
    t.equal(warnings.length, 1)
    t.match(warnings[0], /^\/etc\/jwt\.pem:1: key 1 .*; the key is passed over$/)
    t.match(warnings[0], reason)
    t.match(reasonsOf(block), [reason])
  })
  if (key === null) continue
  t.test(`${what} in a JWKS is passed over with a warning while another key can be used`, async (t) => {
    const { keys, warnings } = parse(jwks(jwk(a.publicKey, { kid: 'good' }), { ...key, kid: 'bad' }))
    t.equal(keys.length, 1)
    t.equal(warnings.length, 1)
    t.match(warnings[0], /^\/etc\/jwt\.pem: key 2 \("bad"\) .*; the key is passed over$/)
    t.match(warnings[0], reason)
  })
}

for (const [what, entry, reason] of [
  ['a symmetric key', { kty: 'oct', k: 'c2VjcmV0' }, /is symmetric; expected a public key/],
  ['a key for encryption', jwk(b.publicKey, { use: 'enc' }), /has the use "enc"; expected "sig"/],
  ['a key for key agreement', jwk(b.publicKey, { key_ops: ['deriveKey'] }), /key_ops without "verify"/],
  ['an unknown kty', { kty: 'XYZ' }, /cannot be read \(kty "XYZ"\)/],
  ['an unknown crv', { ...jwk(b.publicKey), crv: 'P-999' }, /cannot be read \(kty "EC", crv "P-999"\)/],
  [
    'an alg that is not allowed',
    jwk(rsa.publicKey, { alg: 'RSA-OAEP' }),
    /for "RSA-OAEP"; expected a key that/,
  ],
  ['an alg that is no text', jwk(rsa.publicKey, { alg: 7 }), /for 7; expected a key that fits/],
  ['an alg of another kind', jwk(b.publicKey, { alg: 'RS256' }), /for "RS256"; expected a key that fits/],
  ['a kid that is no text', jwk(b.publicKey, { kid: 7 }), /has a kid that is no text/],
  [
    'an exponent of 1',
    jwk(rsa.publicKey, { e: 'AQ' }),
    /public exponent 1; expected an odd one|cannot be read/,
  ],
  ['null', null, /is no object/],
  ['a list', [], /is no object/],
  ['a text', 'key', /is no object/],
  ['an RSA key without numbers', { kty: 'RSA', n: 1, e: null }, /cannot be read \(kty "RSA"\)/],
] as const) {
  t.test(`${what} in a JWKS is passed over, and alone it is an error`, async (t) => {
    const { keys, warnings } = parse(jwks(entry, jwk(a.publicKey)))
    t.equal(keys.length, 1)
    t.match(warnings, [reason])
    t.match(reasonsOf(jwks(entry)), [reason])
  })
}

t.test('a file without a usable key is an error that names all its keys with the reasons', async (t) => {
  const reasons = reasonsOf(jwks(jwk(weak.publicKey, { kid: 'w' }), { kty: 'oct', k: 'c2VjcmV0' }))
  t.match(reasons, [
    '/etc/jwt.pem: holds no key that can be used; expected at least one',
    '/etc/jwt.pem: key 1 ("w") has 1024 bits; expected at least 2048',
    '/etc/jwt.pem: key 2 is symmetric; expected a public key',
  ])
})

t.test('JWT_ALGORITHMS decides which keys can be used', async (t) => {
  const { keys, warnings } = parse(pem(rsa.publicKey) + pem(a.publicKey), ['ES256'])
  t.equal(keys.length, 1)
  t.match(warnings, [/key 1 is RSA, for RS256, .*; expected a key that fits the algorithms ES256/])
  t.equal(parse(JSON.stringify(jwk(rsa.publicKey, { alg: 'RS512' })), ['RS512']).keys.length, 1)
})

t.test('fields of a JWK that are null count as absent', async (t) => {
  const { verdict } = verifierOf(jwks(jwk(a.publicKey, { kid: null, alg: null, use: null, key_ops: null })))
  t.equal(await verdict(await signed(a.privateKey, 'ES256', { kid: 'x' })), 'verified')
})

const pkcs8 = (key: KeyObject) => key.export({ type: 'pkcs8', format: 'pem' }).toString()
for (const [what, content] of [
  ['behind a public one', pem(a.publicKey) + pkcs8(b.privateKey)],
  ['that is indented', `${pem(a.publicKey)}\n  ${pkcs8(b.privateKey).replaceAll('\n', '\n  ')}`],
  ['that is cut off', `${pem(a.publicKey)}${pkcs8(b.privateKey).split('-----END')[0]}`],
  ['of the old kind', pem(a.publicKey) + rsa.privateKey.export({ type: 'pkcs1', format: 'pem' })],
  ['in a JWKS', jwks(jwk(a.publicKey), jwk(b.privateKey))],
] as const) {
  t.test(`a private key ${what} makes the whole file an error, though another key is good`, async (t) => {
    t.match(reasonsOf(content), [/private/])
  })
}

t.test('a file of a hundred keys is read, and one of more is an error', async (t) => {
  const one = jwk(a.publicKey)
  t.match(reasonsOf(jwks(...Array(101).fill(one))), [/holds 101 keys; expected at most 100/])
  t.match(reasonsOf(pem(a.publicKey).repeat(101)), [/holds 101 keys; expected at most 100/])
  t.equal(parse(jwks(...Array(100).fill(one))).keys.length, 100)
})

t.test('a byte order mark before PEM or JSON is ignored, and UTF-16 is an error that names it', async (t) => {
  for (const content of [pem(a.publicKey), jwks(jwk(a.publicKey))]) {
    t.equal(parse(`\uFEFF${content}`).keys.length, 1)
    t.match(reasonsOf(Buffer.from(content, 'utf16le')), [/UTF-16; expected UTF-8/])
    t.match(reasonsOf(Buffer.from(`\uFEFF${content}`, 'utf16le')), [/UTF-16; expected UTF-8/])
    t.match(reasonsOf(Buffer.from(`\uFEFF${content}`, 'utf16le').swap16()), [/UTF-16; expected UTF-8/])
  }
})

t.test('PEM with \\n in place of line breaks is an error that names the cause', async (t) => {
  t.match(reasonsOf(pem(a.publicKey).replaceAll('\n', '\\n')), [/\\n is no line break/])
})

t.test('attack: a token is refused by a file of several keys', async (t) => {
  const content = pem(a.publicKey) + pem(rsa.publicKey) + pem(p384.publicKey)
  const { verdict } = verifierOf(content)
  const hmac = (secret: string | Buffer, alg = 'HS256', header: object = {}) => {
    const input = [{ alg, ...header }, CLAIMS]
      .map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'))
      .join('.')
    return `${input}.${createHmac('sha256', secret).update(input).digest('base64url')}`
  }
  t.equal(await verdict(forgeToken({ alg: 'none' }, CLAIMS)), 'refused', 'alg none')
  for (const key of [a.publicKey, rsa.publicKey, p384.publicKey]) {
    const der: Buffer = key.export({ type: 'spki', format: 'der' })
    for (const secret of [pem(key), pem(key).trim(), der, content])
      for (const alg of ['HS256', 'RS256', 'ES256'])
        t.equal(await verdict(hmac(secret, alg)), 'refused', 'a public key is taken for the secret')
  }
  const other = generateKeyPairSync('rsa', { modulusLength: 2048 })
  t.equal(await verdict(await signed(other.privateKey, 'RS256')), 'refused', 'RS256 by a strange key')
  t.equal(await verdict(await signed(rsa.privateKey, 'RS512')), 'refused', 'an algorithm that is not allowed')
  t.equal(await verdict(await signed(stranger.privateKey, 'ES256')), 'refused', 'ES256 by a strange key')
  const own = jwk(stranger.publicKey)
  for (const header of [
    { jku: 'http://127.0.0.1:1/keys' },
    { x5u: 'http://127.0.0.1:1/keys' },
    { jwk: own },
    { kid: 'x', jwk: own },
  ])
    t.equal(await verdict(await signed(stranger.privateKey, 'ES256', header)), 'refused', 'a key of its own')
  // The second key made the signature: what is critical is looked at behind it, too.
  const second = verifierOf(pem(stranger.publicKey) + pem(a.publicKey))
  const crit = { crit: ['b64'], b64: true }
  const jwt = await signToken({ claims: CLAIMS, key: a.privateKey, header: { alg: 'ES256', ...crit } })
  t.equal(await second.verdict(jwt), 'refused', 'a critical extension')
})

t.test(
  'attack: a kid that names a key that is passed over is refused, and no other key is tried',
  async (t) => {
    const set = jwks(
      jwk(a.publicKey, { kid: 'good' }),
      jwk(b.publicKey, { kid: 'enc', use: 'enc' }),
      { kty: 'oct', kid: 'oct', k: Buffer.alloc(32).toString('base64url') },
      jwk(weak.publicKey, { kid: 'weak' }),
    )
    const { verdict, offered } = verifierOf(set)
    t.equal(await verdict(await signed(b.privateKey, 'ES256', { kid: 'enc' })), 'refused')
    const input = [{ alg: 'HS256', kid: 'oct' }, CLAIMS]
      .map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'))
      .join('.')
    const mac = createHmac('sha256', Buffer.alloc(32)).update(input).digest('base64url')
    t.equal(await verdict(`${input}.${mac}`), 'refused')
    t.equal(await verdict(forgeToken({ alg: 'RS256', kid: 'weak' }, CLAIMS, 'AAAA')), 'refused')
    t.equal(await verdict(await signed(a.privateKey, 'ES256', { kid: 'enc' })), 'refused')
    t.ok(offered.every((count) => count === 0))
  },
)

t.test('attack: a bad signature costs one verification for each key that fits, and no more', async (t) => {
  const { subtle } = globalThis.crypto
  const keys = Array.from({ length: 5 }, () => generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey)
  const { verdict } = verifierOf(keys.map(pem).join('') + pem(rsa.publicKey))
  const before = subtle.verify
  let verifications = 0
  subtle.verify = (...args: Parameters<typeof before>) => {
    verifications++
    return before.apply(subtle, args)
  }
  t.teardown(() => {
    subtle.verify = before
  })
  t.equal(await verdict(await signed(stranger.privateKey, 'ES256')), 'refused')
  t.equal(verifications, 5)
})
