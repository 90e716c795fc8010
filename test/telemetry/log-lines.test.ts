import { once } from 'node:events'
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { openFifo } from '../support/fifo.ts'
import { type LogLine, spawnGateway } from '../support/gateway.ts'
import { NO_DATABASE, plainRouting, until } from '../support/plain-gateway.ts'
import { rawRequest } from '../support/raw-http.ts'
import { TEST_SECRET } from '../support/tokens.ts'

/** A few hundred of it fill what may wait. */
const LONG = 'x'.repeat(15_000)

/** A gateway whose stdout is this descriptor. Its own endpoint answers without database and upstream, and has lines. */
function start(t: Test, stdout: number, env: Readonly<Record<string, string>> = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'gateway-lines-'))
  const file = join(folder, 'upstreams.json')
  writeFileSync(file, JSON.stringify(plainRouting(['http://127.0.0.1:1'])))
  const child = spawnGateway(
    ['serve'],
    {
      NODE_ENV: 'production',
      HOST: '127.0.0.1',
      PORT: '0',
      ADMIN_PORT: '0',
      DATABASE_URL: NO_DATABASE,
      JWT_SECRET: TEST_SECRET,
      UPSTREAMS_FILE: file,
      ACCESS_LOG: 'all',
      ...env,
    },
    { stdout },
  )
  const exited = once(child, 'exit').then(([code, signal]) => code ?? signal)
  t.teardown(async () => {
    child.kill('SIGKILL')
    await exited
    rmSync(folder, { recursive: true, force: true })
  })
  return { child, exited }
}

function linesOf(text: string): LogLine[] {
  if (!text.endsWith('\n')) throw new Error('the last line is not whole')
  return text
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line))
}

/** Reads until the line is there. @returns all that was read */
async function readUntil(read: () => string, wanted: string): Promise<string> {
  let text = ''
  const late = performance.now() + 20_000
  while (!text.includes(wanted) || !text.endsWith('\n')) {
    if (performance.now() > late) throw new Error(`${wanted} did not come`)
    await new Promise((resolve) => setTimeout(resolve, 1))
    text += read()
  }
  return text
}

async function listening(read: () => string) {
  const lines = linesOf(await readUntil(read, '"msg":"listening"'))
  const { port, adminPort } = lines.find(({ msg }) => msg === 'listening') as unknown as {
    port: number
    adminPort: number
  }
  const metric = async (name: string) => {
    const text = await (await fetch(`http://127.0.0.1:${adminPort}/metrics`)).text()
    return Number(new RegExp(`^${name} (.*)$`, 'm').exec(text)?.[1])
  }
  /** @returns how many were answered with 200 */
  const ask = async (count: number, query: string) => {
    const one = `GET /-/healthz?q=${query} HTTP/1.1\r\nHost: a\r\n\r\n`
    const { responses } = await rawRequest(port, one.repeat(count), { until: count, timeoutMs: 20_000 })
    return responses.filter(({ status }) => status === 200).length
  }
  return { port, metric, ask }
}

t.test(
  'with a pipe that nobody reads requests are served, memory is bounded, and dropped lines are counted',
  async (t) => {
    const fifo = openFifo()
    t.teardown(() => fifo.close())
    const { child, exited } = start(t, fifo.writeFd)
    const { metric, ask } = await listening(fifo.read)
    await ask(100, LONG)
    const memory = await metric('process_resident_memory_bytes')
    for (let i = 0; i < 14; i++) t.equal(await ask(100, LONG), 100)
    const dropped = await metric('gateway_log_lines_dropped_total')
    t.ok(dropped > 100, `${dropped} dropped`)
    const grown = (await metric('process_resident_memory_bytes')) - memory
    t.ok(grown < 128 * 1024 * 1024, `${grown} bytes more`)

    const lines = linesOf(await readUntil(fifo.read, 'stdout was not read'))
    const resumed = lines.find(({ msg }) => msg.endsWith('stdout was not read'))
    t.equal(resumed?.dropped, dropped)
    t.equal(lines.filter(({ msg }) => msg === 'request').length, 1500 - dropped)
    await ask(1, 'afterwards')
    linesOf(await readUntil(fifo.read, 'q=afterwards'))
    t.equal(await metric('gateway_log_lines_dropped_total'), dropped)

    await ask(100, LONG)
    child.kill('SIGTERM')
    t.equal(await exited, 0, 'a stuck pipe does not hold up the end')
  },
)

t.test(
  'after the reader of stdout has gone requests are served, and dropped lines are counted',
  async (t) => {
    const fifo = openFifo()
    t.teardown(() => fifo.close())
    const { child, exited } = start(t, fifo.writeFd)
    const { metric, ask } = await listening(fifo.read)
    fifo.closeReader()
    t.equal(await ask(10, 'first'), 10)
    t.equal(await ask(10, 'second'), 10)
    await until(async () => (await metric('gateway_log_lines_dropped_total')) === 20)
    child.kill('SIGTERM')
    t.equal(await exited, 0)
  },
)

t.test('lines of two workers in one slowly read pipe are never interleaved', async (t) => {
  const fifo = openFifo()
  t.teardown(() => fifo.close())
  const { child, exited } = start(t, fifo.writeFd, { WORKERS: '2' })
  const { ask } = await listening(fifo.read)
  const asked = Promise.all(Array.from({ length: 8 }, (_, n) => ask(250, `${n}${'y'.repeat(300)}`)))
  let text = ''
  let answered = false
  void asked.then(() => {
    answered = true
  })
  await until(() => {
    text += fifo.read()
    return answered
  }, 30_000)
  t.same(await asked, new Array(8).fill(250))
  child.kill('SIGTERM')
  const reading = setInterval(() => {
    text += fifo.read()
  }, 10)
  t.equal(await exited, 0)
  clearInterval(reading)
  text += fifo.read()
  t.equal(linesOf(text).filter(({ msg }) => msg === 'request').length, 2000)
})

t.test('a log file has every line once the gateway has ended', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'gateway-file-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const path = join(folder, 'log')
  const fd = openSync(path, 'a')
  t.teardown(() => closeSync(fd))
  const { child, exited } = start(t, fd)
  const { ask } = await listening(() => readFileSync(path, 'utf8'))
  t.equal(await ask(200, 'z'), 200)
  child.kill('SIGTERM')
  t.equal(await exited, 0)
  const lines = linesOf(readFileSync(path, 'utf8'))
  t.equal(lines.filter(({ msg }) => msg === 'request').length, 200)
})
