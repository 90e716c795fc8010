import { once } from 'node:events'
import { Client, credentials, Metadata, ServerCredentials, type StatusObject, status } from '@grpc/grpc-js'
import t, { type Test } from 'tap'
import { createAuthority } from '../support/certificates.ts'
import { message, type Orders, pass, SERVICE, startInteropServer } from '../support/grpc-interop.ts'
import { plainGateway, until } from '../support/plain-gateway.ts'

/*
 * The cases of gRPC's interoperability tests (grpc/doc/interop-test-descriptions.md in gRPC's repository), with grpc-js
 * at both ends of the gateway.
 */

const REQUESTS = [27_182, 8, 1_828, 45_904]
const ANSWERS = [31_415, 9, 2_653, 58_979]
const SPECIAL = '\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n'
const MANY = 200
const LARGE = 1_000_000

const edge = createAuthority(t, 'the edge')
const { certFile, keyFile } = edge.issue('localhost', ['DNS:localhost', 'IP:127.0.0.1'])
const inside = createAuthority(t, 'the inside')
const own = inside.issue('localhost', ['IP:127.0.0.1'])

async function setUp(t: Test, kind: 'TCP' | 'TLS') {
  const pair = { cert_chain: own.cert, private_key: own.key }
  const server = await startInteropServer(
    t,
    kind === 'TCP' ? ServerCredentials.createInsecure() : ServerCredentials.createSsl(null, [pair]),
  )
  const gateway = await plainGateway(t, {
    targets: [`${kind === 'TCP' ? 'http' : 'https'}://127.0.0.1:${server.port}`],
    upstream: { protocol: 'http2', ...(kind === 'TCP' ? {} : { tls: { caFile: inside.certFile } }) },
    env: { TLS_CERT_FILE: certFile, TLS_KEY_FILE: keyFile, HTTP2_MAX_STREAMS: String(MANY) },
  })
  const client = new Client(`localhost:${gateway.port}`, credentials.createSsl(edge.cert), {
    'grpc.max_receive_message_length': -1,
  })
  t.teardown(() => client.close())
  return { server, gateway, ...clientOf(client) }
}

interface Ended {
  readonly status: StatusObject
  readonly head: Metadata | null
  readonly answer: Buffer | null
}

function clientOf(client: Client) {
  return {
    unary(path: string, request: Buffer, metadata = new Metadata(), options = {}): Promise<Ended> {
      return new Promise((resolve) => {
        let head: Metadata | null = null
        let answer: Buffer | null = null
        const call = client.makeUnaryRequest(
          path,
          pass,
          pass,
          request,
          metadata,
          options,
          (_error, value) => {
            answer = value ?? null
          },
        )
        call.on('metadata', (metadata) => {
          head = metadata
        })
        call.on('status', (status) => resolve({ status, head, answer }))
      })
    },
    upload() {
      let answer: Buffer | null = null
      const { path } = SERVICE.streamingInputCall
      const call = client.makeClientStreamRequest(path, pass, pass, new Metadata(), {}, (_error, value) => {
        answer = value ?? null
      })
      return { call, ended: statusOf(call), answer: () => answer }
    },
    download(orders: Orders) {
      const { path } = SERVICE.streamingOutputCall
      const call = client.makeServerStreamRequest(path, pass, pass, message(orders), new Metadata())
      return { ended: statusOf(call), answers: lengthsOf(call) }
    },
    duplex(metadata = new Metadata(), options = {}) {
      const { path } = SERVICE.fullDuplexCall
      const call = client.makeBidiStreamRequest(path, pass, pass, metadata, options)
      call.on('error', () => {})
      return { call, ended: statusOf(call), answers: lengthsOf(call) }
    },
  }
}

function statusOf(call: NodeJS.EventEmitter): Promise<StatusObject> {
  return new Promise((resolve) => call.once('status', resolve))
}

function lengthsOf(call: NodeJS.EventEmitter): number[] {
  const lengths: number[] = []
  call.on('error', () => {})
  call.on('data', (bytes: Buffer) => lengths.push(bytes.length))
  return lengths
}

for (const kind of ['TCP', 'TLS'] as const) {
  t.test(`gRPC's interoperability cases, to a target over ${kind}`, async (t) => {
    const { server, gateway, unary, upload, download, duplex } = await setUp(t, kind)

    t.test('empty_unary', async (t) => {
      const { status: ended, answer } = await unary(SERVICE.emptyCall.path, Buffer.alloc(0))
      t.equal(ended.code, status.OK)
      t.same(answer, Buffer.alloc(0))
    })

    t.test('large_unary', async (t) => {
      const request = message({ sizes: [314_159] }, 271_828)
      const { status: ended, answer } = await unary(SERVICE.unaryCall.path, request)
      t.equal(ended.code, status.OK)
      t.equal(answer?.length, 314_159)
    })

    t.test('client_streaming', async (t) => {
      const { call, ended, answer } = upload()
      for (const size of REQUESTS) call.write(message({}, size))
      call.end()
      t.equal((await ended).code, status.OK)
      t.equal(String(answer()), '74922')
    })

    t.test('server_streaming', async (t) => {
      const { ended, answers } = download({ sizes: ANSWERS })
      t.equal((await ended).code, status.OK)
      t.same(answers, ANSWERS)
    })

    t.test('ping_pong', async (t) => {
      const { call, ended, answers } = duplex()
      for (const [n, size] of REQUESTS.entries()) {
        call.write(message({ sizes: [ANSWERS[n]!] }, size))
        await once(call, 'data')
        t.equal(answers.length, n + 1)
      }
      call.end()
      t.equal((await ended).code, status.OK)
      t.same(answers, ANSWERS)
    })

    t.test('empty_stream', async (t) => {
      const { call, ended, answers } = duplex()
      call.end()
      t.equal((await ended).code, status.OK)
      t.same(answers, [])
    })

    t.test('cancel_after_begin', async (t) => {
      const before = server.cancelled()
      const { call, ended } = upload()
      // Of a call that is cancelled in the tick of its beginning Node's client sends the head, and never the reset.
      await until(async () => (await gateway.metric('gateway_requests_in_flight')) === 1)
      call.cancel()
      t.equal((await ended).code, status.CANCELLED)
      await until(() => server.cancelled() === before + 1)
    })

    t.test('cancel_after_first_response', async (t) => {
      const before = server.cancelled()
      const { call, ended } = duplex()
      call.write(message({ sizes: [ANSWERS[0]!] }, REQUESTS[0]))
      await once(call, 'data')
      call.cancel()
      t.equal((await ended).code, status.CANCELLED)
      await until(() => server.cancelled() === before + 1)
    })

    t.test('timeout_on_sleeping_server', async (t) => {
      const before = server.cancelled()
      const { call, ended } = duplex(new Metadata(), { deadline: Date.now() + 300 })
      call.write(message({}, 27_182))
      t.equal((await ended).code, status.DEADLINE_EXCEEDED)
      await until(() => server.cancelled() === before + 1)
    })

    t.test('custom_metadata', async (t) => {
      const bytes = Buffer.from([0xab, 0xab, 0xab])
      const metadata = new Metadata()
      metadata.set('x-grpc-test-echo-initial', 'test_initial_metadata_value')
      metadata.set('x-grpc-test-echo-trailing-bin', bytes)
      const { head, status: ended } = await unary(SERVICE.unaryCall.path, message({}), metadata)
      t.same(head?.get('x-grpc-test-echo-initial'), ['test_initial_metadata_value'])
      t.same(ended.metadata.get('x-grpc-test-echo-trailing-bin'), [bytes])
      const stream = duplex(metadata)
      const [streamHead] = await once(stream.call, 'metadata')
      t.same(streamHead.get('x-grpc-test-echo-initial'), ['test_initial_metadata_value'])
      stream.call.end()
      t.same((await stream.ended).metadata.get('x-grpc-test-echo-trailing-bin'), [bytes])
    })

    t.test('status_code_and_message, special_status_message', async (t) => {
      for (const details of ['test status message', SPECIAL]) {
        const orders = { status: { code: status.UNKNOWN, details } }
        const { status: ended } = await unary(SERVICE.unaryCall.path, message(orders))
        t.match(ended, orders.status)
        const stream = duplex()
        stream.call.write(message(orders))
        t.match(await stream.ended, orders.status)
      }
    })

    t.test('unimplemented_method, unimplemented_service', async (t) => {
      for (const path of [
        '/grpc.testing.TestService/UnimplementedCall',
        '/grpc.testing.UnimplementedService/UnimplementedCall',
      ]) {
        const { status: ended } = await unary(path, Buffer.alloc(0))
        t.equal(ended.code, status.UNIMPLEMENTED)
      }
    })

    // Over TLS nothing else would be tried.
    if (kind === 'TCP')
      t.test(`${MANY} calls at once with 1 MB both ways`, async (t) => {
        const request = message({ sizes: [LARGE] }, LARGE)
        const calls = Array.from({ length: MANY }, () => unary(SERVICE.unaryCall.path, request))
        const lengths = new Map<unknown, number>()
        for (const { answer, status: ended } of await Promise.all(calls)) {
          const outcome = answer?.length ?? ended.details
          lengths.set(outcome, (lengths.get(outcome) ?? 0) + 1)
        }
        t.same([...lengths], [[LARGE, MANY]])
      })
  })
}
