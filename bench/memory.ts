import type { Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { atMost, type Bound, judge } from './bounds.ts'
import { startService } from './contenders/contender.ts'
import { type StartedGateway, startGateway } from './contenders/gateway.ts'
import { activeTokens } from './database.ts'
import { requestFor, runOpenLoad } from './load.ts'
import { PATH } from './load-shape.ts'
import { capToFileLimit, openConnections, webSocketHandshake } from './open-streams.ts'
import { type BenchOptions, CONNECTIONS } from './options.ts'
import { writePlot } from './plot.ts'
import { markdownTable, writeReadme, writeResults } from './report.ts'
import type { BenchStage } from './stage.ts'
import { spreadOf } from './statistics.ts'
import { usageOf } from './usage.ts'

const REQUESTS = 2_000_000
const SETTLED_AFTER = 200_000
const QUICK_REQUESTS = 50_000
const OPEN = 10_000
const DIFFERENT_TOKENS = 100_000

/** What the resident set may differ by without having grown. */
const GROWTH_BOUND = atMost(1.05)
/** What it took while the gateway was built on Node's HTTP server. */
const IDLE_BOUND = atMost(11.6, ' KiB')

type Sample = readonly [requests: number, rssMiB: number]

/** Measures the gateway's memory over many requests, connections and tokens. */
export async function measureMemory(stage: BenchStage, options: BenchOptions): Promise<void> {
  const samples = await sampleOverRequests(stage, options)
  const idle = await measurePerConnection(stage, 'idle')
  const webSocket = await measurePerConnection(stage, 'webSocket')
  const tokens = await measurePerToken(stage)

  const text = `${memoryTable([
    ...growthRows(samples, options.quick ? QUICK_REQUESTS / 2 : SETTLED_AFTER),
    {
      what: `per idle connection (${idle.count})`,
      figure: idle.kib,
      digits: 1,
      unit: ' KiB',
      bound: IDLE_BOUND,
    },
    {
      what: `per WebSocket (${webSocket.count}), both its connections`,
      figure: webSocket.kib,
      digits: 1,
      unit: ' KiB',
      bound: null,
    },
    {
      what: `per different token (${tokens.count})`,
      figure: tokens.kib,
      digits: 2,
      unit: ' KiB',
      bound: null,
    },
  ])}\n\n![Memory over requests](memory.svg)`
  process.stdout.write(`\n${text}\n`)
  if (!options.recordsResults) return
  await writePlot('memory', {
    title: 'Memory over requests',
    x: { label: 'requests' },
    y: { label: 'RSS, MiB' },
    series: [{ name: 'RSS', points: samples }],
  })
  await writeReadme(new Map([['memory', text]]))
  await writeResults({ memory: { samples, idle, webSocket, tokens } })
}

interface Row {
  readonly what: string
  readonly figure: number
  readonly digits: number
  readonly unit: string
  readonly bound: Bound | null
}

function memoryTable(rows: readonly Row[]): string {
  return markdownTable(
    ['what', 'figure', 'target', ''],
    rows.map(({ what, figure, digits, unit, bound }) => {
      const { target, verdict } = judge(figure, bound)
      return [what, `${figure.toFixed(digits)}${unit}`, target, verdict]
    }),
  )
}

function growthRows(samples: readonly Sample[], settledAfter: number): Row[] {
  const settled = samples.filter(([requests]) => requests >= settledAfter)
  const quarter = Math.max(1, Math.floor(settled.length / 4))
  const rss = (some: readonly Sample[]) => spreadOf(some.map(([, value]) => value)).median
  const [early, late] = [rss(settled.slice(0, quarter)), rss(settled.slice(-quarter))]
  const inMiB = { digits: 0, unit: ' MiB', bound: null }
  return [
    { what: `RSS, first quarter after ${settledAfter} requests`, figure: early, ...inMiB },
    { what: `RSS, last quarter up to ${samples.at(-1)![0]} requests`, figure: late, ...inMiB },
    { what: 'last quarter : first quarter', figure: late / early, digits: 2, unit: '', bound: GROWTH_BOUND },
  ]
}

function rssMiB({ pids }: StartedGateway): number {
  return usageOf(pids).rssBytes / 2 ** 20
}

async function sampleOverRequests(stage: BenchStage, options: BenchOptions): Promise<Sample[]> {
  const gateway = await startGateway(stage)
  try {
    const samples: Sample[] = []
    const total = options.quick ? QUICK_REQUESTS : REQUESTS
    for (let sent = 0; sent < total; ) {
      const load = { port: gateway.port, connections: CONNECTIONS, tokensFile: stage.tokens.active.file }
      const { requests } = await stage.generateLoad({ ...load, seconds: options.seconds, seed: sent })
      sent += requests
      samples.push([sent, rssMiB(gateway)])
    }
    return samples
  } finally {
    await gateway.stop()
  }
}

interface PerOne {
  readonly count: number
  readonly kib: number
}

async function measurePerConnection(stage: BenchStage, kind: 'idle' | 'webSocket'): Promise<PerOne> {
  const backend = kind === 'webSocket' ? await startService('websocket-backend', stage, true) : null
  const gateway = await startGateway(
    { ...stage, backendPort: backend?.port ?? stage.backendPort },
    { upstream: { maxConnections: OPEN } },
  )
  const open: Socket[] = []
  const token = stage.tokens.active.list[0]!
  const bytes = kind === 'webSocket' ? webSocketHandshake(PATH, token) : requestFor(token)
  const expected = kind === 'webSocket' ? ' 101 ' : ' 200 '
  try {
    const opening = () => ({ port: gateway.port, bytes, expected })
    await openConnections(open, 200, opening)
    const before = rssMiB(gateway)
    const count = capToFileLimit(kind === 'webSocket' ? 2 : 1, OPEN) - open.length
    await openConnections(open, count, opening)
    await delay(1000)
    return { count: open.length, kib: ((rssMiB(gateway) - before) * 1024) / count }
  } finally {
    for (const socket of open) socket.destroy()
    await gateway.stop()
    await backend?.stop()
  }
}

async function measurePerToken(stage: BenchStage): Promise<PerOne> {
  const gateway = await startGateway(stage)
  try {
    const load = { port: gateway.port, rate: 3000, connections: CONNECTIONS }
    await runOpenLoad({ ...load, seconds: 10, tokens: stage.tokens.active.list })
    const before = rssMiB(gateway)
    const tokens = await activeTokens(DIFFERENT_TOKENS)
    await runOpenLoad({ ...load, seconds: DIFFERENT_TOKENS / load.rate, tokens })
    return { count: DIFFERENT_TOKENS, kib: ((rssMiB(gateway) - before) * 1024) / DIFFERENT_TOKENS }
  } finally {
    await gateway.stop()
  }
}
