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
  /** All that got another status than expected, requests without an answer included. */
  readonly failed: number
  /** By status; 0 for a connection that broke. */
  readonly failures: Readonly<Record<number, number>>
  readonly p50Ms: number
  readonly p99Ms: number
  readonly p999Ms: number
}

interface Due {
  readonly token: string
  readonly at: number
}

const TICK_MS = 1
const DRAIN_MS = 10_000
const BROKEN = 0

/**
 * An open loop, free of coordinated omission: a request's latency counts from when it was due, the wait for a free
 * connection included. Arrivals come in ticks of a millisecond; a tick that comes late by this process's own fault
 * counts from when it came, as timers are that coarse.
 */
export async function runOpenLoad(load: OpenLoad): Promise<OpenLoadResult> {
  const latencies: number[] = []
  const failures: Record<number, number> = {}
  let answered = 0
  const queue: Due[] = []
  const free: Line[] = []
  const lines = await Promise.all(Array.from({ length: load.connections }, () => openLine(load.port, done)))
  free.push(...lines)

  function done(line: Line, due: Due, status: number): void {
    if (status === (load.expected ?? 200)) latencies.push(performance.now() - due.at)
    else failures[status] = (failures[status] ?? 0) + 1
    answered++
    if (status === BROKEN) return
    const next = queue.shift()
    if (next === undefined) free.push(line)
    else line.send(next)
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
      const line = free.pop()
      if (line === undefined) queue.push(due)
      else line.send(due)
    }
  }
  const giveUpAt = performance.now() + DRAIN_MS
  while (answered < total && performance.now() < giveUpAt) await delay(TICK_MS)
  const tookMs = performance.now() - startedAt
  for (const line of lines) line.close()
  return summary({ latencies, failures, total, tookMs })
}

interface Observed {
  readonly latencies: number[]
  readonly failures: Readonly<Record<number, number>>
  readonly total: number
  readonly tookMs: number
}

function summary({ latencies, failures, total, tookMs }: Observed): OpenLoadResult {
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
interface Line {
  send(due: Due): void
  close(): void
}

function openLine(port: number, done: (line: Line, due: Due, status: number) => void): Promise<Line> {
  const socket: Socket = connect({ port, host: '127.0.0.1', noDelay: true })
  let current: Due | null = null
  let text = ''
  const line: Line = {
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
    const status = wholeAnswer(text)
    if (status === null || current === null) return
    text = ''
    const due = current
    current = null
    done(line, due, status)
  })
  socket.on('error', () => {})
  socket.once('close', () => {
    if (current !== null) done(line, current, BROKEN)
  })
  return new Promise((resolve, reject) => socket.once('connect', () => resolve(line)).once('error', reject))
}

export function requestFor(token: string, path = PATH): string {
  return `GET ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: */*\r\nCookie: auth_token=${token}; theme=dark\r\n\r\n`
}

/** @returns the status once the answer is whole; every answer here has a length */
function wholeAnswer(text: string): number | null {
  const end = text.indexOf('\r\n\r\n')
  if (end === -1) return null
  const length = Number(/\r\ncontent-length: *(\d+)/i.exec(text.slice(0, end))?.[1] ?? 0)
  return text.length >= end + 4 + length ? Number(text.slice(9, 12)) : null
}
