import { generateKeyPairSync, type KeyObject } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import t, { type Test } from 'tap'
import { startGateway, type TestGateway } from '../support/gateway.ts'
import { NO_DATABASE } from '../support/plain-gateway.ts'
import { inSeconds, signToken } from '../support/tokens.ts'

const OLD = 'the old secret, which is long enough too'
const NEW = 'the new secret, which is longer than the old one'
const routing = {
  upstreams: { api: { targets: ['http://127.0.0.1:1'] } },
  routes: [{ path: '/', upstream: 'api' }],
}

async function start(t: Test, env: Record<string, string>): Promise<TestGateway> {
  const gateway = await startGateway({
    databaseUrl: NO_DATABASE,
    routing,
    env: { JWT_SECRET: '', ...env },
  })
  t.teardown(() => gateway.stop())
  return gateway
}

/** Without a database a token with a good signature gets 503, and one with a bad signature 401. */
async function signatureIsGood(gateway: TestGateway, jwt: string): Promise<boolean> {
  const { status } = await fetch(gateway.url, { headers: { cookie: `auth_token=${jwt}` } })
  if (status !== 503 && status !== 401) throw new Error(`answered with ${status}`)
  return status === 503
}

const claims = { jti: 't-1', exp: inSeconds(3600) }
const signedBy = (key: KeyObject) => signToken({ claims, key, header: { alg: 'ES256' } })
const [oldToken, newToken] = await Promise.all([OLD, NEW].map((secret) => signToken({ claims, secret })))
const changes = (gateway: TestGateway) =>
  gateway.lines.filter(({ msg }) => msg.startsWith('the key file has changed')).length

async function write(gateway: TestGateway, path: string, content: string): Promise<void> {
  const before = changes(gateway)
  await writeFile(path, content)
  await gateway.line(({ msg }) => msg.startsWith('the key file has changed') && changes(gateway) > before)
}

t.test('a secret is replaced in a running gateway without refusing a token', async (t) => {
  const path = `${t.testdir({ secret: `${OLD}\n` })}/secret`
  const gateway = await start(t, { JWT_SECRET_FILE: path })
  t.same(
    [await signatureIsGood(gateway, oldToken!), await signatureIsGood(gateway, newToken!)],
    [true, false],
  )
  for (const [content, old] of [
    [`${OLD}\n${NEW}\n`, true],
    [`${NEW}\r\n${OLD}\r\n\r\n`, true],
    [`${NEW}\n`, false],
  ] as const) {
    await write(gateway, path, content)
    t.equal(await signatureIsGood(gateway, newToken!), true)
    t.equal(await signatureIsGood(gateway, oldToken!), old)
  }
  t.notMatch(gateway.output(), /old secret|new secret/)
})

t.test('warnings about keys are logged once at the start, whatever the number of workers', async (t) => {
  const path = `${t.testdir({ secret: `${NEW}\n"${OLD}"\n` })}/secret`
  const gateway = await start(t, { JWT_SECRET_FILE: path, WORKERS: '2' })
  const told = gateway.lines.filter(({ msg }) => msg.includes('is in quotes'))
  t.equal(told.length, 1)
  t.match(told[0], { level: 'warn', msg: `JWT_SECRET_FILE: ${path}:2: the secret is in quotes` })
  t.notMatch(gateway.output(), /old secret|new secret/)
})

t.test('unusable keys beside a usable one do not prevent the start, and are logged', async (t) => {
  const good = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const second = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const koblitz = generateKeyPairSync('ec', { namedCurve: 'secp256k1' })
  const pem = ({ publicKey }: typeof good) => publicKey.export({ type: 'spki', format: 'pem' }).toString()
  const path = `${t.testdir({ 'keys.pem': pem(koblitz) + pem(good) })}/keys.pem`
  const gateway = await start(t, { JWT_PUBLIC_KEY_FILE: path })
  t.match(
    gateway.lines.find(({ msg }) => msg.includes('passed over')),
    { level: 'warn', msg: /keys\.pem:1: key 1 is of the kind EC on secp256k1; expected RSA/ },
  )
  t.equal(await signatureIsGood(gateway, await signedBy(good.privateKey)), true)
  t.equal(await signatureIsGood(gateway, await signedBy(second.privateKey)), false)
  await write(gateway, path, pem(good) + pem(second))
  for (const { privateKey } of [good, second])
    t.equal(await signatureIsGood(gateway, await signedBy(privateKey)), true)
})
