import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdir, readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { until } from '../support/plain-gateway.ts'
import { shot, startRange } from './support.ts'

const IDLE = 10_000
const SLOW = 1000
const MAX_ANSWER_MS = 2000
const HEAP_MIB = 192
/** Client addresses of the second flood. Each address has its own range of ports. */
const LATER = [['127.0.0.5', '127.0.0.6']] as const

const CLIENTS = fileURLToPath(new URL('flood-clients.ts', import.meta.url))

const range = await startRange(t, {
  env: {
    KEEP_ALIVE_TIMEOUT_MS: '600000',
    HEADERS_TIMEOUT_MS: '3000',
    ACCESS_LOG: 'off',
    // The heap is limited to what one flood needs, so that a leak ends the process instead of growing the heap.
    NODE_OPTIONS: `--max-old-space-size=${HEAP_MIB}`,
  },
})

async function crowd(count: number, kind: 'idle' | 'slow', address: string): Promise<ChildProcess> {
  const child = spawn(process.execPath, [CLIENTS, String(range.port), String(count), kind, address], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  await once(child.stdout!, 'data')
  return child
}

async function leave(child: ChildProcess): Promise<void> {
  child.stdin!.end()
  child.stdout!.resume()
  await once(child, 'exit')
}

/** Resident memory without file-backed pages, in MiB. */
async function memory(): Promise<number> {
  const status = await readFile(`/proc/${range.gateway.pid}/status`, 'utf8')
  return Number(/RssAnon:\s+(\d+)/.exec(status)![1]) / 1024
}

async function descriptors(): Promise<number> {
  return (await readdir(`/proc/${range.gateway.pid}/fd`)).length
}

/** Polls rarely, because each look reads about ten thousand entries. */
function untilDescriptors(hold: (count: number) => boolean): Promise<void> {
  return until(async () => hold(await descriptors()), 15_000, 250)
}

async function serves(t: { ok(holds: boolean, what: string): unknown }, what: string): Promise<void> {
  for (let n = 0; n < 10; n++) {
    const since = performance.now()
    const hit = await range.ask(shot('request', '/required', [`Cookie: ${range.cookie}`]))
    const took = performance.now() - since
    t.ok(hit.responses[0]?.status === 200 && took < MAX_ANSWER_MS, `${what}: ${Math.round(took)} ms`)
  }
}

t.test(
  '10,000 idle connections and 1,000 slow ones: good requests are served and memory does not grow',
  async (t) => {
    await serves(t, 'before')
    const open = await descriptors()
    const first = await Promise.all([
      crowd(IDLE / 2, 'idle', '127.0.0.2'),
      crowd(IDLE / 2, 'idle', '127.0.0.3'),
    ])
    await untilDescriptors((count) => count >= open + IDLE)
    await serves(t, 'among idle ones')
    const slow = await crowd(SLOW, 'slow', '127.0.0.4')
    await serves(t, 'among slow ones')
    t.ok((await descriptors()) >= open + IDLE, 'the idle ones are within their time')
    const held = await memory()
    await untilDescriptors((count) => count < open + IDLE + 200)
    t.pass('the slow ones were closed at HEADERS_TIMEOUT_MS')
    await Promise.all([...first, slow].map(leave))
    await untilDescriptors((count) => count <= open + 20)

    const later: number[] = []
    for (const [one, other] of LATER) {
      const crowds = await Promise.all([crowd(IDLE / 2, 'idle', one), crowd(IDLE / 2, 'idle', other)])
      await untilDescriptors((count) => count >= open + IDLE)
      later.push(await memory())
      await Promise.all(crowds.map(leave))
      await untilDescriptors((count) => count <= open + 20)
    }
    t.comment(
      `${Math.round(held)} MiB with the first crowd, then ${later.map((each) => Math.round(each)).join(', ')} MiB`,
    )
    t.ok(Math.max(...later) < held + HEAP_MIB, 'nothing was left behind')
    await serves(t, 'after')
  },
)
