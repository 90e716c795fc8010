import { createHmac, generateKeyPairSync } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { insertToken } from '../support/postgres.ts'
import { forgeToken, inSeconds, signToken, TEST_SECRET } from '../support/tokens.ts'
import { FORMS, shot, startRange, valuesOf } from './support.ts'

const range = await startRange(t)

const good = { jti: range.tokenId, exp: inSeconds(3600) }

/** The server from which a token could make the gateway fetch a key. */
let fetched = 0
const keyServer = createServer((socket) => {
  fetched++
  socket.destroy()
})
await new Promise<void>((resolve) => keyServer.listen(0, '127.0.0.1', resolve))
t.teardown(() => keyServer.close())
const keyUrl = `http://127.0.0.1:${(keyServer.address() as { port: number }).port}/jwks.json`

const queries = () => range.gateway.metric('gateway_token_queries_total')

interface Refusal {
  readonly token: string
  readonly code?: string
  /** True for a token with a good signature, which may be looked up. */
  readonly asks?: boolean
}

async function refused(t: Test, { token, code = 'token_invalid', asks = false }: Refusal, what: string) {
  const before = await queries()
  for (const form of FORMS) {
    const hit = await range.fire(shot(form, '/required', [`Cookie: auth_token=${token}`]))
    t.same([hit.status, hit.code, hit.arrived], [401, code, []], `${what}, ${form}`)
  }
  const hit = await range.fire(shot('request', '/optional', [`Cookie: auth_token=${token}`]))
  t.same(
    hit.arrived.map((request) => valuesOf(request, 'x-user-id')),
    [[]],
    `${what}: nobody where optional`,
  )
  if (!asks) t.equal(await queries(), before, `${what}: the database is not asked`)
}

t.test('alg none in any spelling: 401 without a look-up', async (t) => {
  for (const alg of [
    'none',
    'None',
    'NONE',
    'nOnE',
    'none ',
    '',
    null,
    0,
    ['none'],
    ['HS256'],
    'HS1',
    'hs256',
  ]) {
    await refused(t, { token: forgeToken({ alg, typ: 'JWT' }, good) }, `alg ${JSON.stringify(alg)}`)
    await refused(
      t,
      { token: forgeToken({ alg }, good, 'AAAA') },
      `alg ${JSON.stringify(alg)} with a signature`,
    )
  }
  await refused(t, { token: forgeToken({}, good) }, 'no alg')
})

t.test('another algorithm than the key allows: 401', async (t) => {
  for (const alg of ['HS384', 'HS512']) {
    await refused(t, { token: await signToken({ claims: good, header: { alg } }) }, alg)
  }
})

t.test('kid as a path or as SQL, jku, x5u, x5c and jwk: nothing is read, queried or fetched', async (t) => {
  const headers = [
    { kid: '../../../../../dev/null' },
    { kid: '/dev/null' },
    { kid: "x' UNION SELECT 'secret' --" },
    { jku: keyUrl },
    { x5u: keyUrl },
    { jwk: { kty: 'oct', k: Buffer.from('attacker key attacker key attacker').toString('base64url') } },
    { x5c: ['MIIB'] },
  ]
  for (const header of headers) {
    for (const secret of ['', 'attacker key attacker key attacker', '\0'])
      await refused(t, { token: forgeHs256({ alg: 'HS256', ...header }, secret) }, JSON.stringify(header))
  }
  t.equal(fetched, 0, 'no connection was made')
})

t.test('unknown crit with a good signature: 401', async (t) => {
  for (const crit of [['exp'], ['x'], ['b64'], [], 'x']) {
    const token = forgeHs256({ alg: 'HS256', crit, x: 1, b64: false }, undefined)
    await refused(t, { token }, JSON.stringify(crit))
  }
})

t.test('missing claims and claims of the wrong type: 401', async (t) => {
  const claims: Record<string, Record<string, unknown>> = {
    'no exp': { jti: range.tokenId },
    'exp as text': { ...good, exp: String(good.exp) },
    'exp as null': { ...good, exp: null },
    'exp as a list': { ...good, exp: [good.exp] },
    'nbf far ahead': { ...good, nbf: inSeconds(100_000) },
    'nbf as text': { ...good, nbf: '0' },
    'no jti': { exp: good.exp },
    'jti as a number': { ...good, jti: 7 },
    'jti as an object': { ...good, jti: { $ne: '' } },
    'jti as a list': { ...good, jti: [range.tokenId] },
    'jti empty': { ...good, jti: '' },
    'jti null': { ...good, jti: null },
    'jti with a NUL': { ...good, jti: `${range.tokenId}\0` },
  }
  for (const [what, each] of Object.entries(claims)) {
    await refused(t, { token: forgeHs256({ alg: 'HS256' }, undefined, each) }, what)
  }
  const expired = await signToken({ claims: { ...good, exp: inSeconds(-10) } })
  await refused(t, { token: expired, code: 'token_expired' }, 'expired')
  const infinite = forgeRaw('{"alg":"HS256"}', `{"jti":"${range.tokenId}","exp":1e999}`)
  const hit = await range.fire(shot('request', '/required', [`Cookie: auth_token=${infinite}`]))
  t.same([hit.status, hit.arrived], [401, []], 'an exp past all numbers')
})

t.test('a claim that occurs twice is read in one way only', async (t) => {
  const row = await insertToken(range.sql, { status: 'REVOKED' })
  const token = forgeRaw(
    '{"alg":"none","alg":"HS256"}',
    `{"jti":"${range.tokenId}","jti":"${row.id}","exp":${good.exp}}`,
  )
  const hit = await range.fire(shot('request', '/required', [`Cookie: auth_token=${token}`]))
  t.equal(hit.status, 401)
  t.same(hit.arrived, [])
})

t.test('SQL injection by jti: the value is passed as data, also with 20 kB', async (t) => {
  const ids = [
    `' OR '1'='1`,
    `'; DROP TABLE "Token"; --`,
    `${range.tokenId}' --`,
    `{${range.tokenId}}`,
    `"${range.tokenId}"`,
    `%`,
    `${range.tokenId.toUpperCase()} `,
    `\\' OR 1=1 --`,
    `$1`,
  ]
  for (const jti of ids) {
    const token = forgeHs256({ alg: 'HS256' }, undefined, { ...good, jti })
    const hit = await range.fire(shot('request', '/required', [`Cookie: auth_token=${token}`]))
    t.same([hit.status, hit.arrived], [401, []], jti)
  }
  const long = forgeHs256({ alg: 'HS256' }, undefined, { ...good, jti: 'a'.repeat(8_000) })
  const hit = await range.fire(shot('request', '/required', [`Cookie: auth_token=${long}`]))
  t.same([hit.status, hit.arrived], [401, []])
  const [{ count }] = (await range.sql`SELECT count(*)::int FROM "Token"`) as unknown as [{ count: number }]
  t.ok(count > 0, 'the table is still there')
  t.equal((await range.fire(shot('request', '/required', [`Cookie: ${range.cookie}`]))).status, 200)
})

t.test('a jti of 20 kB is refused', async (t) => {
  const wide = await startRange(t, { env: { MAX_HEADER_BYTES: '65536' } })
  const token = forgeHs256({ alg: 'HS256' }, undefined, { ...good, jti: 'a'.repeat(20_000) })
  const hit = await wide.fire(shot('request', '/required', [`Cookie: auth_token=${token}`]))
  t.same([hit.status, hit.code, hit.arrived], [401, 'token_invalid', []])
  t.equal(await wide.gateway.metric('gateway_token_queries_total'), 0)
})

t.test('a refresh token in the access cookie: 401', async (t) => {
  const token = await signToken({ claims: { ...good, type: 'refresh' } })
  await refused(t, { token }, 'in the access cookie')
  const hit = await range.fire(shot('request', '/required', [`Cookie: refresh_token=${token}`]))
  t.same([hit.status, hit.code, hit.arrived], [401, 'credentials_missing', []], 'in its own cookie')
})

t.test('a good signature with the row of another user, mandate or session: 401, counted', async (t) => {
  const series = 'gateway_auth_decisions_total{decision="token_mismatch"}'
  for (const claims of [{ userId: 'bob' }, { mandateId: 'evil' }, { sessionId: 's2' }]) {
    const before = await range.gateway.metric(series)
    const token = await signToken({ claims: { ...good, ...claims } })
    const hit = await range.fire(shot('request', '/required', [`Cookie: auth_token=${token}`]))
    t.same([hit.status, hit.code, hit.arrived], [401, 'token_mismatch', []])
    t.equal(await range.gateway.metric(series), before + 1)
  }
})

t.test(
  'a forged signature with the victim’s id does not lock the victim out (cache poisoning)',
  async (t) => {
    const cached = await startRange(t, { env: { NEGATIVE_CACHE_TTL_US: '60000000' } })
    const claims = { jti: cached.tokenId, exp: inSeconds(600) }
    const forged = await signToken({ claims, secret: 'the attacker does not have the secret of the tests' })
    for (let n = 0; n < 5; n++) {
      const hit = await cached.fire(shot('request', '/required', [`Cookie: auth_token=${forged}`]))
      t.same([hit.status, hit.code, hit.arrived], [401, 'token_invalid', []])
    }
    t.equal(await cached.gateway.metric('gateway_negative_cache_entries'), 0)
    const victim = await cached.fire(shot('request', '/required', [`Cookie: ${cached.cookie}`]))
    t.equal(victim.status, 200)
  },
)

t.test('two different access cookies in any order or field: 401; equal ones pass', async (t) => {
  const mine = range.cookie
  const other = 'auth_token=a.b.c'
  for (const form of FORMS) {
    for (const fields of [
      [`Cookie: ${mine}; ${other}`],
      [`Cookie: ${other}; ${mine}`],
      [`Cookie: ${mine}`, `Cookie: ${other}`],
      [`Cookie: ${other}`, 'Accept: */*', `cookie: ${mine}`],
      [`Cookie: x=y; ${mine}; z=1; ${other}`],
      [`Cookie: ${mine}; auth_token=`],
    ]) {
      const hit = await range.fire(shot(form, '/required', fields))
      t.same(
        [hit.status, hit.code, hit.arrived],
        [401, 'credentials_ambiguous', []],
        fields.join(' | ').slice(0, 40),
      )
    }
    for (const fields of [[`Cookie: ${mine}; ${mine}`], [`Cookie: ${mine}`, `Cookie: ${mine}`]]) {
      const hit = await range.fire(shot(form, '/required', fields))
      t.same(valuesOf(hit.arrived[0]!, 'x-user-id'), ['alice'])
      t.notMatch(valuesOf(hit.arrived[0]!, 'cookie').join(), /auth_token/)
    }
  }
})

t.test('HS256 signed with the public key: 401 (algorithm confusion)', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'gateway-key-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const pem = publicKey.export({ type: 'spki', format: 'pem' }) as string
  const path = join(folder, 'public.pem')
  await writeFile(path, pem)
  const asymmetric = await startRange(t, { env: { JWT_SECRET: '', JWT_PUBLIC_KEY_FILE: path } })
  const claims = { jti: asymmetric.tokenId, exp: inSeconds(600) }
  const der = publicKey.export({ type: 'spki', format: 'der' })
  for (const key of [pem, pem.trim(), pem.replaceAll('\n', '\r\n'), der, der.toString('base64'), '']) {
    const input = `${base64url({ alg: 'HS256', typ: 'JWT' })}.${base64url(claims)}`
    const token = `${input}.${createHmac('sha256', key).update(input).digest('base64url')}`
    const hit = await asymmetric.fire(shot('request', '/required', [`Cookie: auth_token=${token}`]))
    t.same([hit.status, hit.code, hit.arrived], [401, 'token_invalid', []])
  }
  t.equal(await asymmetric.gateway.metric('gateway_token_queries_total'), 0)
})

t.test('ECDSA signatures of zeros and of other lengths: 401 (CVE-2022-21449)', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'gateway-key-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const path = join(folder, 'public.pem')
  await writeFile(path, publicKey.export({ type: 'spki', format: 'pem' }))
  const asymmetric = await startRange(t, { env: { JWT_SECRET: '', JWT_PUBLIC_KEY_FILE: path } })
  for (const signature of [Buffer.alloc(64), Buffer.alloc(0), Buffer.alloc(63), Buffer.alloc(72, 1)]) {
    const token = forgeToken(
      { alg: 'ES256' },
      { jti: asymmetric.tokenId, exp: inSeconds(600) },
      signature.toString('base64url'),
    )
    const hit = await asymmetric.fire(shot('request', '/required', [`Cookie: auth_token=${token}`]))
    t.same([hit.status, hit.code, hit.arrived], [401, 'token_invalid', []])
  }
})

function base64url(value: unknown): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url')
}

function forgeHs256(header: object, secret: string | undefined, claims: object = good): string {
  return forgeRaw(JSON.stringify(header), JSON.stringify(claims), secret)
}

/** Signs header and claims as given, by default with the gateway's own key. */
function forgeRaw(header: string, payload: string, secret?: string): string {
  const input = `${Buffer.from(header).toString('base64url')}.${Buffer.from(payload).toString('base64url')}`
  return `${input}.${createHmac('sha256', secret ?? TEST_SECRET)
    .update(input)
    .digest('base64url')}`
}
