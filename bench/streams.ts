import type { Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import postgres from 'postgres'
import { schemaSql } from '../gateway/cli/schema.ts'
import { readSettings } from '../gateway/settings/settings.ts'
import { startService } from './contenders/contender.ts'
import { type StartedGateway, startGateway } from './contenders/gateway.ts'
import { activeTokens, ROWS } from './database.ts'
import { scrapeMetrics } from './gateway-metrics.ts'
import { requestFor } from './load.ts'
import { capToFileLimit, type Opening, openConnections, webSocketHandshake } from './open-streams.ts'
import type { BenchOptions } from './options.ts'
import { markdownTable, writeReadme, writeResults } from './report.ts'
import type { BenchStage } from './stage.ts'
import { percentile } from './statistics.ts'
import { usageOf } from './usage.ts'

const STREAMS = 1000
const MANY = 10_000
/** These are revoked one after the other; all others in one transaction. */
const SINGLE = 200
const SINGLE_EVERY_MS = 50
const CHANNEL = 'token_revoked'
const ROUND_MS = 1000

/** Milliseconds from COMMIT to the client's closed socket. */
interface Closing {
  readonly how: string
  readonly streams: number
  readonly p50Ms: number
  readonly worstMs: number
}

/** What open streams cost. */
interface Upkeep {
  readonly streams: number
  readonly queriesARound: number
  readonly cpuMsARound: number
  readonly postgresMsARound: number
  readonly rssMiB: number
  /** Latency of requests that are sent meanwhile, every few milliseconds. */
  readonly p50Ms: number
  readonly worstMs: number
  readonly loopDelayMs: number
}

/** Measures how soon open streams end after a revocation, and what ten thousand open streams cost. */
export async function measureStreams(stage: BenchStage, options: BenchOptions): Promise<void> {
  const noticed = await measureClosings(stage, 'REVOCATION_CHANNEL', { REVOCATION_CHANNEL: CHANNEL })
  const rechecked = await measureClosings(stage, 'recheck only', {})
  const upkeep = [await measureUpkeep(stage, options, 0), await measureUpkeep(stage, options, ROUND_MS)]
  const text = `${closingTable([...noticed, ...rechecked])}\n\n${upkeepTable(upkeep)}`
  process.stdout.write(`\n${text}\n`)
  if (!options.recordsResults) return
  await writeReadme(new Map([['streams', text]]))
  await writeResults({ streams: { closings: [...noticed, ...rechecked], upkeep } })
}

function closingTable(closings: readonly Closing[]): string {
  return markdownTable(
    ['ended by', 'streams', 'p50 ms', 'worst ms'],
    closings.map(({ how, streams, p50Ms, worstMs }) => [
      how,
      String(streams),
      p50Ms.toFixed(1),
      worstMs.toFixed(1),
    ]),
  )
}

function upkeepTable([without, withRounds]: readonly Upkeep[]): string {
  const row = (what: string, of: (upkeep: Upkeep) => string) => [what, of(without!), of(withRounds!)]
  return markdownTable(
    ['open streams', 'no rechecks', `a round every ${ROUND_MS} ms`],
    [
      row('streams', ({ streams }) => String(streams)),
      row('queries a round', ({ queriesARound }) => queriesARound.toFixed(1)),
      row('CPU of the gateway a second, ms', ({ cpuMsARound }) => cpuMsARound.toFixed(0)),
      row('CPU of PostgreSQL a second, ms', ({ postgresMsARound }) => postgresMsARound.toFixed(0)),
      row('RSS, MiB', ({ rssMiB }) => rssMiB.toFixed(0)),
      row('a request meanwhile, p50 ms', ({ p50Ms }) => p50Ms.toFixed(2)),
      row('a request meanwhile, worst ms', ({ worstMs }) => worstMs.toFixed(1)),
      row('longest delay of the event loop, ms', ({ loopDelayMs }) => loopDelayMs.toFixed(1)),
    ],
  )
}

/** Replaces the table, and adds the trigger of `poweron-gateway schema`. */
async function prepareTable(stage: BenchStage): Promise<postgres.Sql> {
  const read = readSettings({ REVOCATION_CHANNEL: CHANNEL })
  if (!read.ok) throw new Error(read.problems.join('; '))
  await stage.database.fillTable(ROWS)
  const sql = postgres(stage.databaseUrl, { max: 1, onnotice: () => {} })
  await sql.unsafe(schemaSql(read.settings))
  return sql
}

interface OpenStreams {
  readonly gateway: StartedGateway
  readonly open: readonly Socket[]
  readonly tokens: readonly string[]
}

/** A gateway with open streams, every second one a WebSocket, the others server-sent events. */
async function withStreams<T>(
  stage: BenchStage,
  { count, env }: { readonly count: number; readonly env: Readonly<Record<string, string>> },
  task: (streams: OpenStreams) => Promise<T>,
): Promise<T> {
  const backend = await startService('websocket-backend', stage, true)
  const gateway = await startGateway(
    { ...stage, backendPort: backend.port },
    { upstream: { maxConnections: 2 * MANY }, env },
  )
  const open: Socket[] = []
  try {
    const tokens = await activeTokens(count)
    await openConnections(open, count, (n) => openingOf(n, gateway.port, tokens[n]!))
    for (const socket of open) socket.resume()
    return await task({ gateway, open, tokens })
  } finally {
    for (const socket of open) socket.destroy()
    await gateway.stop()
    await backend.stop()
  }
}

function openingOf(n: number, port: number, token: string): Opening {
  return n % 2 === 0
    ? { port, bytes: webSocketHandshake('/socket', token), expected: ' 101 ' }
    : { port, bytes: requestFor(token, '/events'), expected: ' 200 ' }
}

async function measureClosings(
  stage: BenchStage,
  how: string,
  env: Readonly<Record<string, string>>,
): Promise<Closing[]> {
  const sql = await prepareTable(stage)
  try {
    return await withStreams(stage, { count: STREAMS, env }, async ({ open, tokens }) => {
      const closedAt = open.map(
        (socket) => new Promise<number>((done) => socket.once('close', () => done(performance.now()))),
      )
      const ids = tokens.map(idOf)
      const single: Promise<number>[] = []
      for (let n = 0; n < SINGLE; n++) {
        const committedAt = await revoke(sql, [ids[n]!])
        single.push(closedAt[n]!.then((at) => at - committedAt))
        await delay(SINGLE_EVERY_MS)
      }
      const one = summarizeClosing(`${how}, one by one`, await Promise.all(single))
      const committedAt = await revoke(sql, ids.slice(SINGLE))
      const rest = (await Promise.all(closedAt.slice(SINGLE))).map((at) => at - committedAt)
      return [one, summarizeClosing(`${how}, all in one transaction`, rest)]
    })
  } finally {
    await sql.end()
    await stage.database.fillTable(ROWS)
  }
}

/** @returns when COMMIT was sent */
async function revoke(sql: postgres.Sql, ids: readonly string[]): Promise<number> {
  await sql.unsafe('begin')
  await sql`update "Token" set "status" = 'REVOKED' where "id" = any(${[...ids]})`
  const at = performance.now()
  await sql.unsafe('commit')
  return at
}

function summarizeClosing(how: string, times: readonly number[]): Closing {
  const sorted = [...times].sort((a, b) => a - b)
  return { how, streams: sorted.length, p50Ms: percentile(sorted, 50), worstMs: sorted.at(-1)! }
}

function idOf(token: string): string {
  return JSON.parse(Buffer.from(token.split('.')[1]!, 'base64url').toString()).jti
}

function measureUpkeep(stage: BenchStage, options: BenchOptions, recheckMs: number): Promise<Upkeep> {
  const env = { STREAM_RECHECK_MS: String(recheckMs) }
  return withStreams(stage, { count: capToFileLimit(2, MANY), env }, async ({ gateway, open, tokens }) => {
    await delay(2000)
    const rounds = options.quick ? 5 : 15
    const before = await scrapeMetrics(gateway.adminPort)
    const used = usageOf(gateway.pids)
    const postgresUsed = usageOf([stage.database.pid])
    const [token] = tokens
    const times = await sendSteadily(gateway.port, token!, rounds * ROUND_MS)
    const usage = usageOf(gateway.pids)
    const postgresUsage = usageOf([stage.database.pid])
    const after = await scrapeMetrics(gateway.adminPort)
    const rise = (series: string) => after.sum(series) - before.sum(series)
    return {
      streams: open.filter((socket) => !socket.destroyed).length,
      queriesARound: (rise('gateway_token_queries_total') - times.length) / rounds,
      cpuMsARound: (usage.cpuUs - used.cpuUs) / 1000 / rounds,
      postgresMsARound: (postgresUsage.cpuUs - postgresUsed.cpuUs) / 1000 / rounds,
      rssMiB: usage.rssBytes / 2 ** 20,
      p50Ms: percentile(times, 50),
      worstMs: times.at(-1)!,
      loopDelayMs: after.sum('nodejs_eventloop_lag_max_seconds') * 1000,
    }
  })
}

/** Sends one request after the other, with a pause between them. @returns sorted latencies, milliseconds */
async function sendSteadily(port: number, token: string, forMs: number): Promise<number[]> {
  const times: number[] = []
  const sockets: Socket[] = []
  await openConnections(sockets, 1, () => ({ port, bytes: requestFor(token), expected: ' 200 ' }))
  const [connection] = sockets
  for (const end = performance.now() + forMs; performance.now() < end; await delay(5)) {
    const began = performance.now()
    const answered = new Promise((done) => connection!.once('data', done))
    connection!.write(requestFor(token))
    await answered
    times.push(performance.now() - began)
  }
  connection!.destroy()
  return times.sort((a, b) => a - b)
}
