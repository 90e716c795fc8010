import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer, type IncomingHttpHeaders } from 'node:http'
import { Agent, request } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import postgres from 'postgres'
import type { Test } from 'tap'
import { WebSocketServer } from 'ws'
import { type Authority, type Certificate, createAuthority } from './certificates.ts'
import { createFleet, type Fleet } from './fleet.ts'
import { insertToken, startPostgres, type TestPostgres } from './postgres.ts'
import { freePort } from './raw-backend.ts'
import { readText } from './repository.ts'
import { inSeconds, signToken } from './tokens.ts'

/** Two gateways before a backend, for a balancer in front of them to be tried on. */
export interface Behind {
  readonly fleet: Fleet
  readonly database: TestPostgres
  readonly authority: Authority
  readonly certificate: Certificate
  /** A good session's. */
  readonly cookie: string
}

/** Starts them; the backend tells the headers it got, streams events at /events, and echoes WebSocket messages. */
export async function startBehind(t: Test, env: Readonly<Record<string, string>>): Promise<Behind> {
  const authority = createAuthority(t, 'test authority')
  const certificate = authority.issue('localhost', ['DNS:localhost', 'IP:127.0.0.1'])
  const database = await startPostgres()
  const databaseUrl = await database.createDatabase()
  const sql = postgres(databaseUrl, { max: 1, onnotice: () => {} })
  const row = await insertToken(sql)
  await sql.end()
  const backend = createServer((req, res) => {
    if (req.url === '/events') {
      res.writeHead(200, { 'Content-Type': 'text/event-stream' })
      res.write('data: first\n\n')
      return
    }
    req.resume()
    res.end(JSON.stringify({ url: req.url, headers: req.headers }))
  })
  const sockets = new WebSocketServer({ server: backend })
  sockets.on('connection', (socket) => socket.on('message', (data) => socket.send(String(data))))
  backend.listen(0, '127.0.0.1')
  await once(backend, 'listening')
  const { port } = backend.address() as AddressInfo
  const fleet = await createFleet(2, {
    databaseUrl,
    routing: {
      upstreams: { app: { targets: [`http://127.0.0.1:${port}`] } },
      routes: [
        { path: '/', upstream: 'app' },
        { path: '/assets', upstream: 'app', auth: 'none' },
      ],
    },
    // A machine under load is not what these tests are about.
    env: { TRUSTED_PROXIES: '127.0.0.1', ACCESS_LOG: 'off', LOOKUP_TIMEOUT_MS: '10000', ...env },
  })
  await Promise.all([fleet.start(0), fleet.start(1)])
  t.teardown(async () => {
    await fleet.stop()
    for (const socket of sockets.clients) socket.terminate()
    backend.closeAllConnections()
    backend.close()
    await database.close()
  })
  const token = await signToken({ claims: { jti: row.id, exp: inSeconds(3600) } })
  return { fleet, database, authority, certificate, cookie: `auth_token=${token}` }
}

export interface FrontOptions {
  readonly program: string
  /** A configuration file of the repository. */
  readonly file: string
  /** What stands in it, and what is tried instead; each has to be there. */
  readonly instead: Readonly<Record<string, string>>
  readonly args: (file: string, folder: string) => readonly string[]
}

/** Runs a balancer with a file of `deploy/`, but for addresses and file names. It ends with the test. */
export async function startFront(t: Test, { program, file, instead, args }: FrontOptions): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'gateway-front-'))
  let text = readText(file)
  for (const [from, to] of Object.entries(instead)) {
    if (!text.includes(from)) throw new Error(`${file} has no ${from}`)
    text = text.replaceAll(from, to.replaceAll('FOLDER', folder))
  }
  const changed = join(folder, 'front.conf')
  await writeFile(changed, text)
  let output = ''
  const child = spawn(program, args(changed, folder), { stdio: ['ignore', 'pipe', 'pipe'] })
  child.stdout.on('data', (data) => {
    output += data
  })
  child.stderr.on('data', (data) => {
    output += data
  })
  const gone = new Promise((resolve) => child.once('exit', resolve))
  t.teardown(async () => {
    child.kill('SIGTERM')
    const late = setTimeout(() => child.kill('SIGKILL'), 2000)
    await gone
    clearTimeout(late)
    await rm(folder, { recursive: true, force: true })
    if (!t.passing()) t.comment(output.slice(-4000))
  })
}

/** Ports for the balancer: TLS, plain, and one more. */
export async function frontPorts(): Promise<{ tls: number; plain: number; other: number }> {
  return { tls: await freePort(), plain: await freePort(), other: await freePort() }
}

export interface Told {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly body: string
}

/** One request over TLS. Rejects where no whole answer came. */
export function askFront(
  url: string,
  options: {
    readonly ca: Buffer
    readonly method?: string
    readonly headers?: Record<string, string>
    readonly agent?: Agent
    readonly body?: string
  },
): Promise<Told> {
  const { ca, method = 'GET', headers = {}, agent, body } = options
  return new Promise((resolve, reject) => {
    const req = request(
      url,
      { ca, method, headers, ...(agent === undefined ? { agent: false } : { agent }) },
      (res) => {
        let text = ''
        res.on('data', (data) => {
          text += data
        })
        res.once('error', reject)
        res.once('end', () => resolve({ status: res.statusCode ?? 0, headers: res.headers, body: text }))
      },
    )
    req.once('error', reject)
    req.end(body)
  })
}

/** Asks on kept connections until told to stop. @returns how often each outcome was seen */
export function loadFront(
  url: string,
  { authority, cookie }: Behind,
  methods: readonly string[],
): () => Promise<Map<string, number>> {
  const seen = new Map<string, number>()
  let loading = true
  const lane = async (_: unknown, n: number) => {
    const agent = new Agent({ keepAlive: true, maxSockets: 1 })
    while (loading) {
      const method = methods[n % methods.length]!
      const body = method === 'POST' ? { body: 'x' } : {}
      const outcome = await askFront(url, {
        ca: authority.cert,
        method,
        headers: { cookie },
        agent,
        ...body,
      }).then(
        ({ status }) => `${method} ${status}`,
        (error) => `${method} ${error}`,
      )
      seen.set(outcome, (seen.get(outcome) ?? 0) + 1)
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
    agent.destroy()
  }
  const lanes = Array.from({ length: 6 }).map(lane)
  return async () => {
    loading = false
    await Promise.all(lanes)
    return seen
  }
}
