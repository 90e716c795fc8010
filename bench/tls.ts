import { execFile, execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { request } from 'node:https'
import { join } from 'node:path'
import { type ConnectionOptions, connect } from 'node:tls'
import { promisify } from 'node:util'
import { type Started, together } from './contenders/contender.ts'
import { startGateway } from './contenders/gateway.ts'
import { FORWARD } from './contenders/nginx-proxies.ts'
import { PATH } from './load-shape.ts'
import { startNginx, upstreamBlock } from './nginx.ts'
import { type BenchOptions, CONNECTIONS } from './options.ts'
import { eventually, freePort } from './processes.ts'
import { table, writeReadme, writeResults } from './report.ts'
import type { BenchStage } from './stage.ts'
import { type Spread, spreadOf } from './statistics.ts'
import { usageOf } from './usage.ts'

const KINDS = ['HTTP/1.1', 'HTTP/2', 'full handshake', 'resumed handshake'] as const
type Kind = (typeof KINDS)[number]

interface Figures {
  /** Requests, or handshakes. */
  readonly perS: number
  /** Of all the contender's processes, for each of them. */
  readonly cpuUs: number
}

interface SecureContender {
  readonly title: string
  readonly needsNginx: boolean
  start(stage: BenchStage, certificate: Certificate): Promise<Started>
}

interface Certificate {
  readonly certFile: string
  readonly keyFile: string
}

const CONTENDERS: readonly SecureContender[] = [
  {
    title: 'PowerOn Gateway',
    needsNginx: false,
    start: (stage, certificate) => startGateway(stage, { env: environment(certificate) }),
  },
  {
    title: 'PowerOn Gateway, `auth: none`',
    needsNginx: false,
    start: (stage, certificate) => startGateway(stage, { auth: 'none', env: environment(certificate) }),
  },
  { title: 'nginx alone', needsNginx: true, start: startSecureNginx },
]

/** So that the part takes less than three minutes. */
const ROUNDS_MAX = 3
const SECONDS_MAX = 3
const HANDSHAKE_SECONDS_MAX = 2

/** Streams of HTTP/2 on each connection, and connections whose requests together are as many as over HTTP/1.1. */
const STREAMS = 8
const HANDSHAKES_AT_ONCE = 8

/** What TLS costs, and HTTP/2: both protocols by the same load generator, and handshakes with and without resumption. */
export async function tls(stage: BenchStage, options: BenchOptions): Promise<void> {
  if (!(await hasH2load())) {
    process.stdout.write('TLS needs h2load (nghttp2-client).\n')
    return
  }
  const certificate = makeCertificate(stage.folder)
  const contenders = CONTENDERS.filter(({ needsNginx }) => !needsNginx || stage.machine.nginx !== null)
  const rows = new Map(contenders.map(({ title }) => [title, new Map<Kind, Figures[]>()]))
  for (let round = 1; round <= Math.min(ROUNDS_MAX, options.rounds); round++) {
    for (const contender of contenders) {
      const started = await contender.start(stage, certificate)
      try {
        await verify(stage, contender, started)
        for (const kind of KINDS) {
          const figures = await measure(stage, started, kind, options)
          const kinds = rows.get(contender.title)!
          kinds.set(kind, [...(kinds.get(kind) ?? []), figures])
          process.stderr.write(
            `round ${round}  ${contender.title}: ${kind} ${figures.perS.toFixed(0)}/s, ${figures.cpuUs.toFixed(1)} µs\n`,
          )
        }
      } finally {
        await started.stop()
      }
    }
  }
  const text = tlsTable(rows)
  process.stdout.write(`\n${text}\n`)
  if (!options.keep) return
  await writeReadme(new Map([['tls', text]]))
  await writeResults({
    tls: Object.fromEntries([...rows].map(([title, kinds]) => [title, Object.fromEntries(kinds)])),
  })
}

function tlsTable(rows: ReadonlyMap<string, ReadonlyMap<Kind, readonly Figures[]>>): string {
  const nginx = rows.get('nginx alone')
  return table(
    ['contender', 'what', 'per second', 'CPU µs', 'CPU : nginx'],
    KINDS.flatMap((kind) =>
      [...rows].map(([title, kinds]) => {
        const cpu = spreadOf(kinds.get(kind)!.map(({ cpuUs }) => cpuUs))
        const other = nginx === undefined ? null : spreadOf(nginx.get(kind)!.map(({ cpuUs }) => cpuUs))
        return [
          title,
          kind,
          shown(spreadOf(kinds.get(kind)!.map(({ perS }) => perS)), 0),
          shown(cpu, 1),
          other === null ? '' : (cpu.median / other.median).toFixed(2),
        ]
      }),
    ),
  )
}

function shown({ median, min, max }: Spread, digits: number): string {
  return `${median.toFixed(digits)} (${min.toFixed(digits)}..${max.toFixed(digits)})`
}

async function measure(
  stage: BenchStage,
  { port, pids }: Started,
  kind: Kind,
  options: BenchOptions,
): Promise<Figures> {
  const isHandshake = kind.endsWith('handshake')
  const seconds = Math.min(isHandshake ? HANDSHAKE_SECONDS_MAX : SECONDS_MAX, options.seconds)
  const run = (s: number) =>
    isHandshake
      ? shakeHands(port, s, kind === 'resumed handshake')
      : load(port, {
          seconds: s,
          protocol: kind as 'HTTP/1.1' | 'HTTP/2',
          token: stage.tokens.active.list[0]!,
        })
  await run(1)
  const before = usageOf(pids)
  const done = await run(seconds)
  return { perS: done / seconds, cpuUs: (usageOf(pids).cpuUs - before.cpuUs) / done }
}

interface SecureLoad {
  readonly seconds: number
  readonly protocol: 'HTTP/1.1' | 'HTTP/2'
  readonly token: string
}

/** @returns how many requests were answered with 2xx */
async function load(port: number, { seconds, protocol, token }: SecureLoad): Promise<number> {
  const shape =
    protocol === 'HTTP/2'
      ? ['-c', String(CONNECTIONS / STREAMS), '-m', String(STREAMS)]
      : ['-c', String(CONNECTIONS), '--h1']
  const { stdout } = await promisify(execFile)('h2load', [
    ...shape,
    '-D',
    String(seconds),
    '-H',
    `cookie: auth_token=${token}`,
    `https://127.0.0.1:${port}${PATH}`,
  ])
  const good = Number(/status codes: (\d+) 2xx/.exec(stdout)?.[1])
  const bad = /status codes: \d+ 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx/
    .exec(stdout)
    ?.slice(1)
    .some((n) => n !== '0')
  if (!(good > 0) || bad !== false) throw new Error(`h2load said: ${stdout}`)
  return good
}

/** One after the other on a few lines at once. @returns how many were done */
async function shakeHands(port: number, seconds: number, resumed: boolean): Promise<number> {
  const options = { port, host: '127.0.0.1', servername: 'bench.example', rejectUnauthorized: false }
  const session = resumed ? await sessionOf(options) : undefined
  const end = performance.now() + seconds * 1000
  let done = 0
  async function line(): Promise<void> {
    while (performance.now() < end) {
      const socket = connect(session === undefined ? options : { ...options, session })
      await once(socket, 'secureConnect')
      if (socket.isSessionReused() !== resumed)
        throw new Error('a session was not resumed, or should not have been')
      done++
      socket.destroy()
    }
  }
  await Promise.all(Array.from({ length: HANDSHAKES_AT_ONCE }, line))
  return done
}

async function sessionOf(options: ConnectionOptions): Promise<Buffer> {
  const socket = connect(options)
  const [session] = (await once(socket, 'session')) as [Buffer]
  socket.destroy()
  return session
}

async function hasH2load(): Promise<boolean> {
  return promisify(execFile)('h2load', ['--version']).then(
    () => true,
    () => false,
  )
}

/** ECDSA on P-256, as public authorities issue by now. */
function makeCertificate(folder: string): Certificate {
  const [certFile, keyFile] = [join(folder, 'tls.crt'), join(folder, 'tls.key')]
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', keyFile]
  const names = ['-subj', '/CN=bench.example', '-addext', 'subjectAltName=DNS:bench.example']
  execFileSync('openssl', ['req', '-x509', '-days', '30', ...key, ...names, '-out', certFile], {
    stdio: 'pipe',
  })
  return { certFile, keyFile }
}

function environment({ certFile, keyFile }: Certificate) {
  return { TLS_CERT_FILE: certFile, TLS_KEY_FILE: keyFile }
}

async function startSecureNginx(stage: BenchStage, { certFile, keyFile }: Certificate): Promise<Started> {
  const port = await freePort()
  const running = await startNginx(
    stage.folder,
    'nginx-tls',
    `${upstreamBlock('backend', stage.backendPort)}
  server {
    listen 127.0.0.1:${port} ssl http2 backlog=4096;
    ssl_certificate ${certFile};
    ssl_certificate_key ${keyFile};
    ssl_protocols TLSv1.2 TLSv1.3;
    location / { ${FORWARD} }
  }`,
  )
  await eventually('nginx', async () => (await statusOf(port, null)) > 0)
  return together(port, [running])
}

/** What admits everybody is fast for the wrong reason. */
async function verify(stage: BenchStage, { title }: SecureContender, { port }: Started): Promise<void> {
  const [good, none] = [await statusOf(port, stage.tokens.active.list[0]!), await statusOf(port, null)]
  const expected = title === 'PowerOn Gateway' ? 401 : 200
  if (good !== 200 || none !== expected)
    throw new Error(`${title} answered ${good} with a token and ${none} without`)
}

function statusOf(port: number, token: string | null): Promise<number> {
  const headers = token === null ? {} : { cookie: `auth_token=${token}` }
  return new Promise((resolve, reject) => {
    request(
      { port, host: '127.0.0.1', path: PATH, headers, agent: false, rejectUnauthorized: false },
      (res) => {
        res.resume()
        resolve(res.statusCode ?? 0)
      },
    )
      .on('error', reject)
      .end()
  })
}
