import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import postgres from 'postgres'
import t from 'tap'
import { Pool } from 'undici'
import { startGateway } from '../support/gateway.ts'
import { insertToken, startPostgres } from '../support/postgres.ts'
import { inSeconds, signToken } from '../support/tokens.ts'

const CONNECTIONS = 16
const REQUESTS = 2000

/**
 * 22,000 as it stands, 28,000 with undici between the gateway and its targets. The bound leaves
 * room for what the compiler has not optimised yet and for queries of smaller batches.
 */
const MAX_BYTES = 28_000

/** Tells on SIGWINCH, which nothing else sends it, what the process has allocated on its heap since it began. */
const TELL = `data:text/javascript,${encodeURIComponent(
  `import { getHeapStatistics } from 'node:v8'
   process.on('SIGWINCH', () => {
     const bytes = getHeapStatistics().total_allocated_bytes
     process.stdout.write(JSON.stringify({ msg: 'allocated', bytes }) + '\\n')
   })`,
)}`

t.test('an authenticated request allocates no more than its budget', async (t) => {
  const database = await startPostgres()
  t.teardown(() => database.close())
  const url = await database.createDatabase()
  const sql = postgres(url, { max: 1 })
  const { id } = await insertToken(sql)
  await sql.end()
  const backend = createServer((_req, res) => res.end('ok'))
  await new Promise<void>((resolve) => backend.listen(0, '127.0.0.1', resolve))
  t.teardown(() => backend.close())
  const target = `http://127.0.0.1:${(backend.address() as AddressInfo).port}`
  const gateway = await startGateway({
    databaseUrl: url,
    routing: { upstreams: { api: { targets: [target] } }, routes: [{ path: '/', upstream: 'api' }] },
    env: { ACCESS_LOG: 'off', NODE_OPTIONS: `--import ${TELL}` },
  })
  t.teardown(() => gateway.stop())
  const client = new Pool(gateway.url, { connections: CONNECTIONS })
  t.teardown(() => client.close())
  const cookie = `auth_token=${await signToken({ claims: { jti: id, exp: inSeconds(60) } })}`

  let left = 0
  async function ask(): Promise<void> {
    while (left-- > 0) {
      const { statusCode, body } = await client.request({ path: '/', method: 'GET', headers: { cookie } })
      if (statusCode !== 200) throw new Error(`status ${statusCode}`)
      await body.dump()
    }
  }

  async function load(): Promise<void> {
    left = REQUESTS
    await Promise.all(Array.from({ length: CONNECTIONS }, ask))
  }

  async function allocated(): Promise<number> {
    const seen = gateway.lines.length
    gateway.signal('SIGWINCH')
    const line = await gateway.line((each) => each.msg === 'allocated' && gateway.lines.indexOf(each) >= seen)
    return line.bytes as number
  }

  // The compiler's tiers differ in what they allocate.
  await load()
  await load()
  const before = await allocated()
  await load()
  const perRequest = ((await allocated()) - before) / REQUESTS
  t.comment(`${Math.round(perRequest)} bytes a request`)
  t.ok(perRequest < MAX_BYTES, `${Math.round(perRequest)} bytes, less than ${MAX_BYTES}`)
  t.ok(perRequest > 1000, 'something was counted')
})
