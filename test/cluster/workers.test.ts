import { execFileSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { link, readFile, rm, writeFile } from 'node:fs/promises'
import { Agent, get } from 'node:http'
import { dirname, join } from 'node:path'
import t from 'tap'
import { exposeAggregated, valuesOf } from '../../gateway/telemetry/metrics/exposition.ts'
import { createMetrics } from '../../gateway/telemetry/metrics/metrics.ts'
import { parseOpenMetrics, parseText } from '../support/exposition.ts'
import { startGateway } from '../support/gateway.ts'
import { many } from '../support/http-client.ts'
import { NO_DATABASE, plainRouting, until } from '../support/plain-gateway.ts'
import { openConnection } from '../support/raw-http.ts'
import { request, startStage } from '../support/stage.ts'
import { answerOk } from '../support/upstream.ts'

/** All tests use this gateway in their order. Each leaves two workers running, the last one none. */
const stage = await startStage({ env: { WORKERS: '2', ACCESS_LOG: 'off', STREAM_RECHECK_MS: '0' } })
t.teardown(() => stage.close())
t.afterEach(() => stage.upstream.respond(answerOk))

async function read() {
  return parseText(await (await fetch(`http://127.0.0.1:${stage.gateway.adminPort}/metrics`)).text())
}

function workers(): number[] {
  const listed = execFileSync('pgrep', ['-P', String(stage.gateway.pid)], { encoding: 'utf8' })
  return listed.trim().split('\n').map(Number)
}

async function isReady(): Promise<boolean> {
  return (await fetch(`http://127.0.0.1:${stage.gateway.adminPort}/readyz`)).status === 200
}

/** @returns the status, or why there is none */
function once(path: string): Promise<number | string> {
  return new Promise((resolve) => {
    const options = { path, port: stage.port, host: '127.0.0.1', agent: new Agent(), timeout: 4000 }
    const req = get(options, (res) => {
      res.resume()
      res.once('error', (error) => resolve(error.message))
      res.once('end', () => resolve(res.statusCode ?? 0))
    })
    req.once('timeout', () => req.destroy(new Error('no answer in four seconds')))
    req.once('error', (error) => resolve(error.message))
  })
}

t.test('of several workers counters are summed, "up" is the minimum, and the build is 1', async (t) => {
  await many(40, 4, async () => {
    await stage.ask(request('GET /secure', [`Cookie: ${stage.cookie}`]))
  })
  const now = await read()
  t.equal(now.value('gateway_requests_total', { route: '/secure', status: '200' }), 40)
  t.equal(now.value('gateway_request_duration_seconds_count', { route: '/secure' }), 40)
  t.equal(now.value('gateway_token_lookups_total', { result: 'active' }), 40)
  t.equal(now.value('gateway_token_store_up'), 1)
  t.equal(now.value('gateway_upstream_target_up', { upstream: 'main', target: stage.upstream.url }), 1)
  t.equal(now.value('gateway_config_last_reload_successful'), 1)
  t.equal(now.samples('gateway_build_info')[0]?.value, 1)
  for (const name of ['gateway_config_last_reload_success_timestamp_seconds', 'process_start_time_seconds']) {
    t.ok(Math.abs((now.value(name) ?? 0) - Date.now() / 1000) < 120, name)
  }
})

t.test('the file descriptors are those of the worker with the fewest left', async (t) => {
  const [pid = 0] = workers()
  const limit = /^Max open files +([0-9]+)/m.exec(await readFile(`/proc/${pid}/limits`, 'utf8'))?.[1]
  const now = await read()
  t.equal(now.value('process_max_fds'), Number(limit))
  const most = Math.max(...workers().map((each) => readdirSync(`/proc/${each}/fd`).length))
  t.ok(
    Math.abs((now.value('process_open_fds') ?? 0) - most) < 10,
    `${now.value('process_open_fds')} and ${most}`,
  )
})

t.test('the event loop delay is the highest of all workers', async (t) => {
  const name = 'nodejs_eventloop_lag_p99_seconds'
  const families = await valuesOf(createMetrics({ version: '', node: '' }, Date.now).registry)
  const late = (value: number) =>
    families.map((each) => (each.name === name ? { ...each, values: [{ labels: {}, value }] } : each))
  const { body } = await exposeAggregated([late(0.01), late(0.5), late(0.01)], 'text')
  t.equal(parseText(body).value(name), 0.5)
})

t.test('the OpenMetrics text of several workers is valid and has exemplars', async (t) => {
  await many(8, 4, async () => void (await stage.ask(request('GET /'))))
  const headers = { Accept: 'application/openmetrics-text' }
  const response = await fetch(`http://127.0.0.1:${stage.gateway.adminPort}/metrics`, { headers })
  const open = parseOpenMetrics(await response.text())
  t.ok(open.samples('gateway_request_duration_seconds_bucket').some(({ exemplar }) => exemplar !== null))
})

t.test('requests in flight and open streams of all workers are summed, and return to 0', async (t) => {
  stage.upstream.respond(() => {})
  const open = await Promise.all(Array.from({ length: 6 }, () => openConnection(stage.port)))
  for (const connection of open) connection.write(request('GET /'))
  const streams = async () => {
    const now = await read()
    return [
      now.value('gateway_requests_in_flight'),
      now.samples('gateway_open_streams').reduce((sum, { value }) => sum + value, 0),
    ]
  }
  await until(async () => (await streams()).every((value) => value === 6))
  for (const connection of open) connection.destroy()
  await until(async () => (await streams()).every((value) => value === 0))
  t.pass('six, then none')
})

t.test('a killed worker loses only its own exchanges, and another one takes its place', async (t) => {
  const [victim = 0] = workers()
  const before = new Set(workers())
  const sum = async () => (await read()).value('gateway_requests_total', { route: '/', status: '200' }) ?? 0
  const outcomes: { begun: number; outcome: number | string }[] = []
  let killedAt = Number.POSITIVE_INFINITY
  let counted = 0
  await many(400, 8, async (n) => {
    if (n === 150) {
      counted = await sum()
      process.kill(victim, 'SIGKILL')
      killedAt = performance.now()
    }
    const begun = performance.now()
    outcomes.push({ begun, outcome: await once('/') })
  })
  const lost = outcomes.filter(({ outcome }) => outcome !== 200)
  const reasons = lost.map(({ outcome }) => outcome).join()
  t.ok(lost.length <= 8, `lost ${lost.length}: ${reasons}`)
  t.notMatch(reasons, 'no answer', 'a connection that was handed to the killed worker goes to another one')
  t.ok(lost.every(({ begun }) => begun <= killedAt + 250))
  t.ok((await sum()) >= counted, 'what the killed worker had counted stays counted')
  await until(() => workers().length === 2 && workers().some((pid) => !before.has(pid)), 30_000)
  await until(isReady, 30_000)
  t.ok(stage.gateway.lines.some(({ msg, pid }) => msg.startsWith('a worker has died') && pid === victim))
  t.equal(await once('/'), 200)
})

t.test('a stuck worker delays a scrape only briefly, and no counter falls', async (t) => {
  const count = async () => (await read()).value('gateway_requests_total', { route: '/', status: '200' })
  const before = await count()
  await many(20, 4, async () => void (await stage.ask(request('GET /'))))
  const after = await count()
  t.equal(after, (before ?? 0) + 20)
  const [victim = 0] = workers()
  process.kill(victim, 'SIGSTOP')
  const began = performance.now()
  t.equal(await count(), after)
  t.ok(performance.now() - began < 3000)
  t.ok(await isReady(), 'the other one serves')
  process.kill(victim, 'SIGCONT')
})

t.test('SIGHUP reloads the routing file in every worker', async (t) => {
  const reloads = async () => (await read()).value('gateway_config_reloads_total', { result: 'success' }) ?? 0
  const before = await reloads()
  stage.gateway.signal('SIGHUP')
  await until(async () => (await reloads()) === before + 2)
  t.pass('each has read it')
})

t.test(
  'a worker that is replaced while the routing file is bad serves the same routes as the others',
  async (t) => {
    const { upstreamsFile } = stage.gateway
    const good = await readFile(upstreamsFile, 'utf8')
    const state = async (name: string) => (await read()).value(`gateway_config_last_reload_${name}`)
    const loadedAt = (await state('success_timestamp_seconds')) ?? 0
    await writeFile(upstreamsFile, '{ "upstreams": ')
    await until(async () => (await state('successful')) === 0)
    const [victim = 0] = workers()
    const before = new Set(workers())
    process.kill(victim, 'SIGKILL')
    await until(() => workers().length === 2 && workers().some((pid) => !before.has(pid)), 30_000)
    await until(isReady, 30_000)
    const seen = new Set<number | string>()
    await many(40, 4, async () => void seen.add(await once('/')))
    t.same([...seen], [200])
    t.equal(await state('successful'), 0, 'the bad file is still told of')
    t.ok(((await state('success_timestamp_seconds')) ?? 0) <= loadedAt, 'and so is the age of what is served')
    await writeFile(upstreamsFile, good)
    await until(async () => (await state('successful')) === 1)
  },
)

t.test('exchanges finish after SIGTERM to all processes, as service managers send it', async (t) => {
  const arrived = Promise.withResolvers<() => void>()
  stage.upstream.respond((req, socket) => arrived.resolve(() => answerOk(req, socket)))
  const asked = stage.ask(request('GET /'))
  const answer = await arrived.promise
  for (const pid of [stage.gateway.pid, ...workers()]) process.kill(pid, 'SIGTERM')
  await stage.gateway.line(({ msg }) => msg === 'shutting down')
  answer()
  t.equal((await asked).responses[0]?.status, 200)
  t.equal(await stage.gateway.exited, 0)
})

t.test('a worker that cannot be replaced at once is replaced later; the others serve', async (t) => {
  // A second name of the same program, which the test can remove.
  const program = join(dirname(process.execPath), `node-of-test-${process.pid}`)
  await link(process.execPath, program)
  t.teardown(() => rm(program, { force: true }))
  const gateway = await startGateway({
    databaseUrl: NO_DATABASE,
    routing: plainRouting([stage.upstream.url]),
    env: { WORKERS: '2', ACCESS_LOG: 'off' },
    program,
  })
  t.teardown(() => gateway.stop())
  const children = () =>
    execFileSync('pgrep', ['-P', String(gateway.pid)], { encoding: 'utf8' })
      .trim()
      .split('\n')
      .map(Number)
  const [victim = 0] = children()
  await rm(program)
  process.kill(victim, 'SIGKILL')
  await gateway.line(({ msg, how }) => msg.startsWith('a worker has died') && how === 'ENOENT')
  t.equal((await fetch(gateway.url)).status, 200, 'the other one serves')
  await link(process.execPath, program)
  await until(() => children().length === 2, 30_000)
})
