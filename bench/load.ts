import { connect, type Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { PATH } from './load-shape.ts'
import { percentile } from './statistics.ts'

export interface OpenLoad {
  readonly port: number
  /** Requests per second, sent when they are due whether or not answers have come. */
  readonly rate: number
  readonly seconds: number
  readonly connections: number
  readonly tokens: readonly string[]
  /** The status that counts as an answer; 200 where absent. */
  readonly expected?: number
}

export interface OpenLoadResult {
  readonly requests: number
  /** Answers per second, over the whole run up to the last of them. */
  readonly answeredPerS: number
  /** Requests that got another status than expected, or no answer. */
  readonly failed: number
  /** By status; 0 for a connection that broke. */
  readonly failures: Readonly<Record<number, number>>
  readonly p50Ms: number
  readonly p99Ms: number
  readonly p999Ms: number
}

interface DueRequest {
  readonly token: string
  readonly at: number
}

const TICK_MS = 1
const DRAIN_MS = 10_000
const BROKEN = 0

/**
 * An open loop, free of coordinated omission: a request's latency counts from when it was due, the wait for a free
 * connection included. Requests become due in ticks of a millisecond. A late tick counts from its actual time, since
 * the delay is that of this process's timers.
 */
export async function runOpenLoad(load: OpenLoad): Promise<OpenLoadResult> {
  const latencies: number[] = []
  const failures: Record<number, number> = {}
  let answered = 0
  const queue: DueRequest[] = []
  const freeConnections: LoadConnection[] = []
  const connections = await Promise.all(
    Array.from({ length: load.connections }, () => openConnection(load.port, onAnswer)),
  )
  freeConnections.push(...connections)

  function onAnswer(connection: LoadConnection, due: DueRequest, status: number): void {
    if (status === (load.expected ?? 200)) latencies.push(performance.now() - due.at)
    else failures[status] = (failures[status] ?? 0) + 1
    answered++
    if (status === BROKEN) return
    const next = queue.shift()
    if (next === undefined) freeConnections.push(connection)
    else connection.send(next)
  }

  const startedAt = performance.now()
  const total = Math.round(load.rate * load.seconds)
  let sent = 0
  while (sent < total) {
    await delay(TICK_MS)
    const now = performance.now()
    const dueBy = Math.min(total, Math.floor(((now - startedAt) / 1000) * load.rate))
    for (; sent < dueBy; sent++) {
      const due = { token: load.tokens[sent % load.tokens.length]!, at: now }
      const connection = freeConnections.pop()
      if (connection === undefined) queue.push(due)
      else connection.send(due)
    }
  }
  const giveUpAt = performance.now() + DRAIN_MS
  while (answered < total && performance.now() < giveUpAt) await delay(TICK_MS)
  const tookMs = performance.now() - startedAt
  for (const connection of connections) connection.close()
  return summarize({ latencies, failures, total, tookMs })
}

interface Observed {
  readonly latencies: number[]
  readonly failures: Readonly<Record<number, number>>
  readonly total: number
  readonly tookMs: number
}

function summarize({ latencies, failures, total, tookMs }: Observed): OpenLoadResult {
  if (latencies.length === 0) throw new Error('not one request was answered')
  latencies.sort((a, b) => a - b)
  return {
    requests: total,
    answeredPerS: (latencies.length / tookMs) * 1000,
    failed: total - latencies.length,
    failures,
    p50Ms: percentile(latencies, 50),
    p99Ms: percentile(latencies, 99),
    p999Ms: percentile(latencies, 99.9),
  }
}

/** One kept-alive connection with at most one request on it. */
interface LoadConnection {
  send(due: DueRequest): void
  close(): void
}

function openConnection(
  port: number,
  onAnswer: (connection: LoadConnection, due: DueRequest, status: number) => void,
): Promise<LoadConnection> {
  const socket: Socket = connect({ port, host: '127.0.0.1', noDelay: true })
  let current: DueRequest | null = null
  let text = ''
  const connection: LoadConnection = {
    send(due) {
      current = due
      socket.write(requestFor(due.token))
    },
    close() {
      current = null
      socket.destroy()
    },
  }
  socket.on('data', (data) => {
    text += data.toString('latin1')
    const status = statusOfWholeAnswer(text)
    if (status === null || current === null) return
    text = ''
    const due = current
    current = null
    onAnswer(connection, due, status)
  })
  socket.on('error', () => {})
  socket.once('close', () => {
    if (current !== null) onAnswer(connection, current, BROKEN)
  })
  return new Promise((resolve, reject) =>
    socket.once('connect', () => resolve(connection)).once('error', reject),
  )
}

export function requestFor(token: string, path = PATH): string {
  return `GET ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: */*\r\nCookie: auth_token=${token}; theme=dark\r\n\r\n`
}

/** @returns the status once the answer is complete, else null; every answer here has a Content-Length */
function statusOfWholeAnswer(text: string): number | null {
  const end = text.indexOf('\r\n\r\n')
  if (end === -1) return null
  const length = Number(/\r\ncontent-length: *(\d+)/i.exec(text.slice(0, end))?.[1] ?? 0)
  return text.length >= end + 4 + length ? Number(text.slice(9, 12)) : null
}
