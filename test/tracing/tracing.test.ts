import t, { type Test } from 'tap'
import { type OtlpCollector, startOtlpCollector } from '../support/otlp-collector.ts'
import { plainGateway, until } from '../support/plain-gateway.ts'
import { rawRequest } from '../support/raw-http.ts'
import { request, type Stage, startStage } from '../support/stage.ts'
import { answerOk, startRecordingUpstream } from '../support/upstream.ts'

const TRACE = '4bf92f3577b34da6a3ce929d0e0e4736'
const PARENT = '00f067aa0ba902b7'

/** Batches are exported at once instead of after five seconds. */
const JSON_ENV = { OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json', OTEL_BSP_SCHEDULE_DELAY: '50' }

let collector: OtlpCollector
let stage: Stage

t.before(async () => {
  collector = await startOtlpCollector()
  stage = await startStage({
    upstream: { retries: 1 },
    env: {
      ...JSON_ENV,
      OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
      OTEL_EXPORTER_OTLP_HEADERS: 'x-collector-key=k%201',
      OTEL_RESOURCE_ATTRIBUTES: 'deployment.environment=test%20bench',
    },
  })
})
t.teardown(async () => {
  await stage.close()
  await collector.close()
})
t.afterEach(() => stage.upstream.respond(answerOk))

/** The spans with this trace id, once the span of the exchange has arrived. */
async function spansOf(traceId: string) {
  await collector.span((each) => each.traceId === traceId && each.kind === 2)
  const spans = collector.spans.filter((each) => each.traceId === traceId)
  return {
    server: spans.find(({ kind }) => kind === 2)!,
    lookUp: spans.find(({ kind }) => kind === 1),
    tries: spans.filter(({ kind }) => kind === 3),
  }
}

async function traced(line: string, fields: readonly string[] = []) {
  const { responses } = await stage.ask(request(line, fields))
  const requestId = responses[0]?.header('x-request-id')
  const access = await stage.gateway.line((each) => each.msg === 'request' && each.requestId === requestId)
  return { ...(await spansOf(access.traceId as string)), status: responses[0]?.status, access }
}

t.test('an exchange is a span named by its route, with the attributes of the conventions', async (t) => {
  const { server } = await traced('GET /hello?page=2&token=s3cret', ['User-Agent: tests/1'])
  t.equal(server.name, 'GET /')
  t.equal(server.parentSpanId, '')
  t.equal(server.status, 0)
  t.match(server.attributes, {
    'http.request.method': 'GET',
    'http.route': '/',
    'http.response.status_code': 200,
    'url.scheme': 'http',
    'url.path': '/hello',
    'url.query': 'page=2&token=***',
    'server.address': 'app.example.com',
    'network.protocol.version': '1.1',
    'user_agent.original': 'tests/1',
    'gateway.upstream': 'main',
  })
  t.match(server.resource, { 'service.name': 'poweron-gateway', 'deployment.environment': 'test bench' })
})

t.test(
  'look-up and attempt are child spans, and the attempt is the parent of what goes upstream',
  async (t) => {
    const { server, lookUp, tries } = await traced('GET /secure', [`Cookie: ${stage.cookie}`])
    t.equal(lookUp?.parentSpanId, server.spanId)
    t.match(lookUp?.attributes, { 'gateway.decision': 'authenticated' })
    t.equal(tries.length, 1)
    t.equal(tries[0]?.parentSpanId, server.spanId)
    t.match(tries[0]?.attributes, {
      'http.request.method': 'GET',
      'http.response.status_code': 200,
      'server.address': '127.0.0.1',
      'server.port': stage.upstream.port,
      'url.full': `${stage.upstream.url}/secure`,
    })
    const sent = stage.upstream.requests.at(-1)?.all('traceparent')
    t.same(sent, [`00-${server.traceId}-${tries[0]?.spanId}-01`])
  },
)

t.test('no span contains the user or the token', async (t) => {
  const spans = await traced('GET /secure', [`Cookie: ${stage.cookie}`])
  const told = JSON.stringify([spans.server, spans.lookUp, spans.tries])
  for (const secret of ['alice', 'acme', stage.tokenId, stage.cookie.slice(11)]) {
    t.notOk(told.includes(secret), secret)
  }
})

t.test('the trace of a request is continued, and its tracestate passes', async (t) => {
  const { server, tries } = await traced('GET /', [
    `traceparent: 00-${TRACE}-${PARENT}-01`,
    'tracestate: a=1',
  ])
  t.equal(server.traceId, TRACE)
  t.equal(server.parentSpanId, PARENT)
  const got = stage.upstream.requests.at(-1)
  t.equal(got?.header('traceparent'), `00-${TRACE}-${tries[0]?.spanId}-01`)
  t.equal(got?.header('tracestate'), 'a=1')
})

t.test('an unsampled parent makes no span, and its traceparent passes unchanged', async (t) => {
  const unsampled = `00-${'a'.repeat(32)}-${PARENT}-00`
  await stage.ask(request('GET /', [`Traceparent: ${unsampled}`]))
  const got = stage.upstream.requests.at(-1)?.headers.find(([name]) => /traceparent/i.test(name))
  t.same(got, ['Traceparent', unsampled])
  await traced('GET /')
  t.notOk(collector.spans.some(({ traceId }) => traceId === 'a'.repeat(32)))
})

t.test('the span of a refusal is no error and has the code', async (t) => {
  const { server, tries, lookUp } = await traced('POST /secure')
  t.equal(server.name, 'POST /secure')
  t.equal(server.status, 0)
  t.match(server.attributes, { 'http.response.status_code': 401, 'gateway.code': 'credentials_missing' })
  t.match(lookUp?.attributes, { 'gateway.decision': 'credentials_missing' })
  t.same(tries, [])
})

t.test('each attempt is a span, and sends its own id upstream', async (t) => {
  // A sole target gets a request again only where it was lost with a kept connection.
  await traced('GET /')
  const sent: (string | null)[] = []
  stage.upstream.respond((req, socket) => {
    sent.push(req.header('traceparent'))
    if (sent.length === 1) socket.destroy()
    else answerOk(req, socket)
  })
  const { server, tries, status, access } = await traced('GET /')
  t.equal(status, 200)
  t.equal(access.retries, 1)
  t.same(
    sent,
    tries.map(({ traceId, spanId }) => `00-${traceId}-${spanId}-01`),
  )
  t.same(
    tries.map((each) => [
      each.status,
      each.attributes['error.type'],
      each.attributes['http.request.resend_count'],
    ]),
    [
      [2, 'upstream_reset', undefined],
      [0, undefined, 1],
    ],
  )
  t.equal(server.status, 0)
  t.equal(server.attributes['gateway.retries'], 1)
})

t.test('a fault of the upstream makes the span an error with the code', async (t) => {
  stage.upstream.respond((_req, socket) => socket.end('nonsense'))
  const { server, tries, status } = await traced('POST /', ['Content-Length: 0'])
  t.equal(status, 502)
  t.equal(server.status, 2)
  t.match(server.attributes, { 'http.response.status_code': 502, 'error.type': 'upstream_invalid' })
  t.match(tries[0]?.attributes, { 'error.type': 'upstream_invalid' })
})

t.test('the span of a WebSocket lasts as long as the connection, with status 101', async (t) => {
  stage.upstream.respond((_req, socket) => {
    socket.end(
      'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n',
    )
  })
  const { server, tries } = await traced('GET /', [
    'Connection: Upgrade',
    'Upgrade: websocket',
    'Sec-WebSocket-Version: 13',
    'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
  ])
  t.match(server, { name: 'GET /', status: 0, attributes: { 'http.response.status_code': 101 } })
  t.match(tries, [{ status: 0, attributes: { 'http.response.status_code': 101 } }])
  const sent = stage.upstream.requests.at(-1)?.header('traceparent')
  t.equal(sent, `00-${server.traceId}-${tries[0]?.spanId}-01`)
})

t.test('an unknown method is not used in the name of a span', async (t) => {
  const { server } = await traced('PROPFIND /')
  t.equal(server.name, 'HTTP /')
  t.match(server.attributes, { 'http.request.method': '_OTHER', 'http.request.method_original': 'PROPFIND' })
})

t.test('exports use the endpoint and the headers of the environment, and are counted', async (t) => {
  await traced('GET /')
  const last = collector.exports.at(-1)
  t.equal(last?.path, '/v1/traces')
  t.match(last?.headers, { 'content-type': 'application/json', 'x-collector-key': 'k 1' })
  const counted = () => stage.gateway.metric('gateway_trace_spans_total{result="exported"}')
  await until(async () => (await counted()) === collector.spans.length)
  t.ok((await counted()) > 0)
})

/** A gateway without a database, with a collector of its own. */
async function ownCollector(
  t: Test,
  env: Readonly<Record<string, string>>,
  variable = (url: string): Record<string, string> => ({ OTEL_EXPORTER_OTLP_ENDPOINT: url }),
) {
  const [own, upstream] = await Promise.all([startOtlpCollector(), startRecordingUpstream()])
  t.teardown(() => Promise.all([own.close(), upstream.close()]))
  const gateway = await plainGateway(t, { targets: [upstream.url], env: { ...env, ...variable(own.url) } })
  return {
    own,
    upstream,
    gateway,
    ask: (bytes: Buffer, until = 1) => rawRequest(gateway.port, bytes, { until }),
    counted: (result: string) => gateway.metric(`gateway_trace_spans_total{result="${result}"}`),
  }
}

t.test('spans are exported as protobuf by default, to exactly the URL of the variable', async (t) => {
  const env = { OTEL_SERVICE_NAME: 'edge', OTEL_BSP_SCHEDULE_DELAY: '50' }
  const { own, ask } = await ownCollector(t, env, (url) => ({
    OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: `${url}/otlp/in`,
  }))
  await ask(request('GET /', [`traceparent: 00-${TRACE}-${PARENT}-01`]))
  const server = await own.span(({ kind }) => kind === 2)
  t.match(server, {
    traceId: TRACE,
    parentSpanId: PARENT,
    name: 'GET /',
    resource: { 'service.name': 'edge' },
  })
  t.match(server.attributes, { 'http.route': '/', 'http.response.status_code': 200 })
  t.equal(own.exports[0]?.path, '/otlp/in')
  t.equal(own.exports[0]?.headers['content-type'], 'application/x-protobuf')
})

t.test('long values of a client are cut in the span', async (t) => {
  const { server } = await traced(`GET /${'x'.repeat(6000)}`, [`User-Agent: ${'y'.repeat(6000)}`])
  for (const name of ['url.path', 'user_agent.original']) {
    t.equal(String(server.attributes[name]).length, 2048, name)
  }
})

t.test('spans that wait at the end are exported in the drain', async (t) => {
  const { own, ask, gateway } = await ownCollector(t, { OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json' })
  await ask(request('GET /'))
  t.equal(own.spans.length, 0)
  gateway.signal('SIGTERM')
  t.equal(await gateway.exited, 0)
  t.ok(own.spans.some(({ kind }) => kind === 2))
})

t.test(
  'a collector that never answers fails no request, delays no end, and drops spans above a limit',
  async (t) => {
    const bounds = { OTEL_BSP_MAX_QUEUE_SIZE: '64', OTEL_BSP_MAX_EXPORT_BATCH_SIZE: '16' }
    const { own, ask, gateway, counted } = await ownCollector(t, { ...JSON_ENV, ...bounds })
    own.behave('hang')
    // Each request has two spans.
    const { responses } = await ask(Buffer.concat(Array.from({ length: 100 }, () => request('GET /'))), 100)
    t.equal(responses.filter(({ status }) => status === 200).length, 100)
    t.equal(await counted('dropped'), 200 - 64)
    const began = performance.now()
    gateway.signal('SIGTERM')
    t.equal(await gateway.exited, 0)
    t.ok(performance.now() - began < 5000)
  },
)

t.test('a collector that goes down and returns is logged once each, and spans are counted', async (t) => {
  const { own, ask, gateway, counted } = await ownCollector(t, JSON_ENV)
  own.behave('refuse')
  await ask(request('GET /'))
  await gateway.line(({ msg }) => msg === 'traces cannot be exported')
  await ask(request('GET /'))
  await until(async () => (await counted('failed')) === 4)
  own.behave('take')
  await ask(request('GET /'))
  await gateway.line(({ msg }) => msg === 'traces are exported again')
  t.equal(await counted('exported'), 2)
  t.equal(gateway.lines.filter(({ msg }) => msg === 'traces cannot be exported').length, 1)
})

/** Makes Node print the name of each loaded module on stderr. */
const TELLS_MODULES = `--import=data:text/javascript,${encodeURIComponent(`
  import { registerHooks } from 'node:module'
  registerHooks({ resolve(name, at, next) {
    process.stderr.write(name + String.fromCharCode(10))
    return next(name, at)
  } })`)}`

t.test('with OTEL_SDK_DISABLED=true nothing is exported, counted or loaded', async (t) => {
  const env = { ...JSON_ENV, OTEL_SDK_DISABLED: 'true', NODE_OPTIONS: TELLS_MODULES }
  const { own, upstream, ask, gateway } = await ownCollector(t, env)
  const came = `00-${TRACE}-${PARENT}-01`
  await ask(request('GET /', [`traceparent: ${came}`]))
  t.equal(upstream.requests.at(-1)?.header('traceparent'), came)
  const text = await (await fetch(`http://127.0.0.1:${gateway.adminPort}/metrics`)).text()
  t.notMatch(text, 'gateway_trace_spans_total')
  gateway.signal('SIGTERM')
  await gateway.exited
  t.same(own.exports, [])
  t.match(gateway.output(), 'prom-client')
  t.notMatch(gateway.output(), '@opentelemetry/sdk-trace')
})

t.test('the packages of OpenTelemetry are loaded only if a collector is set', async (t) => {
  const loads = async (env: Readonly<Record<string, string>>) => {
    const targets = ['http://127.0.0.1:1']
    const gateway = await plainGateway(t, { targets, env: { ...env, NODE_OPTIONS: TELLS_MODULES } })
    return gateway.output().includes('@opentelemetry/sdk-trace')
  }
  t.equal(await loads({}), false)
  t.equal(await loads({ OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:1' }), true)
})
