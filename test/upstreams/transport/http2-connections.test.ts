import t, { type Test } from 'tap'
import { createTransport, type Transport } from '../../../gateway/upstreams/transport/transport.ts'
import { createFakeScheduler } from '../../support/fake-scheduler.ts'
import {
  ACK,
  DATA,
  END_HEADERS,
  END_STREAM,
  type Frame,
  GOAWAY,
  goaway,
  HEADERS,
  MAX_CONCURRENT_STREAMS,
  PING,
  RST_STREAM,
  SETTINGS,
  settings,
  WINDOW_UPDATE,
} from '../../support/http2-frames.ts'
import { type Http2Peer, STATUS_200, startHttp2Target } from '../../support/http2-target.ts'
import { nothingToFind } from '../../support/name-server.ts'
import { until } from '../../support/plain-gateway.ts'
import { connectionsTo, exchange, type TestRequest, testTransport } from '../../support/target-client.ts'

const PLAIN = { name: 'TCP', authority: null }
const ANSWERED = { kind: 'answered', status: 200 }

interface Stream {
  readonly peer: Http2Peer
  readonly id: number
  answer(): void
}

/** A target that allows so many streams at once, and whose answers the test sends. */
async function setUp(
  t: Test,
  options: {
    readonly maxStreams?: number
    readonly silent?: boolean
    readonly transport?: Transport
  } = {},
) {
  const { maxStreams, silent = false, transport = testTransport() } = options
  const streams: Stream[] = []
  const peers: Http2Peer[] = []
  const frames: Required<Frame>[] = []
  const greet = (peer: Http2Peer, allowed = maxStreams) =>
    peer.send({
      type: SETTINGS,
      payload: settings(allowed === undefined ? [] : [[MAX_CONCURRENT_STREAMS, allowed]]),
    })
  // The first frame of a target has to be its SETTINGS, so a silent one acknowledges nothing.
  const onFrame = (peer: Http2Peer, each: Required<Frame>) => {
    frames.push(each)
    const { type, flags, stream: id } = each
    if (type === SETTINGS && flags !== ACK && !silent) peer.send({ type: SETTINGS, flags: ACK })
    if (type === HEADERS) {
      const head = { type: HEADERS, flags: END_HEADERS | END_STREAM, stream: id, payload: STATUS_200 }
      streams.push({ peer, id, answer: () => peer.send(head) })
    }
  }
  const target = await startHttp2Target(t, PLAIN, onFrame, (peer) => {
    peers.push(peer)
    if (!silent) greet(peer)
  })
  let morePlaces = 0
  const connections = connectionsTo(
    { ...target.options, http2: true, onMorePlaces: () => morePlaces++ },
    transport,
  )
  return {
    connections,
    peers,
    streams,
    frames,
    greet,
    morePlaces: () => morePlaces,
    ask: (request?: TestRequest) => exchange(connections, request),
    /** Resolves once so many streams were begun. */
    begun: (count: number) => until(() => streams.length >= count, 10_000, 5),
  }
}

t.test('exchanges wait for the SETTINGS of their target, and stay within its limit of streams', async (t) => {
  const { ask, peers, streams, frames, greet, begun } = await setUp(t, { silent: true })
  const outcomes = Array.from({ length: 30 }, () => ask().outcome)
  // The gateway's own SETTINGS have come.
  await until(() => frames.length > 0)
  t.equal(streams.length, 0)
  greet(peers[0]!, 10)
  await begun(10)
  await until(() => peers.length === 3)
  for (const peer of peers.slice(1)) greet(peer, 10)
  await begun(30)
  for (const { peer } of streams) t.equal(streams.filter((each) => each.peer === peer).length, 10)
  for (const stream of streams) stream.answer()
  for (const outcome of outcomes) t.same(await outcome, ANSWERED)
  t.equal(peers.length, 3)
})

t.test('where all streams of `maxConnections` are taken, an exchange is told to wait', async (t) => {
  const { ask, connections, peers, streams, begun } = await setUp(t, { maxStreams: 2 })
  connections.maxConnections = 2
  const outcomes = Array.from({ length: 4 }, () => ask().outcome)
  await begun(4)
  t.equal(connections.places, 4)
  t.same(await ask().outcome, { kind: 'unplaced' })
  streams[0]!.answer()
  t.same(await outcomes[0], ANSWERED)
  const last = ask().outcome
  await begun(5)
  for (const stream of streams.slice(1)) stream.answer()
  t.same(await last, ANSWERED)
  t.equal(peers.length, 2)
})

t.test('the places are those that the target allows, and more once it allows more', async (t) => {
  const { ask, connections, peers, greet, streams, begun, morePlaces } = await setUp(t, { maxStreams: 3 })
  connections.maxConnections = 2
  t.equal(connections.places, 200, 'the usual number, before the target has said anything')
  const { outcome } = ask()
  await begun(1)
  t.equal(connections.places, 6)
  const before = morePlaces()
  greet(peers[0]!, 50)
  await until(() => morePlaces() > before)
  t.equal(connections.places, 100)
  streams[0]!.answer()
  await outcome
})

t.test('a target that allows no stream at present gets one connection and no request', async (t) => {
  const { ask, connections, peers, streams, greet, begun } = await setUp(t, { maxStreams: 0 })
  connections.maxConnections = 5
  t.same(await ask().outcome, { kind: 'unplaced' })
  t.equal(connections.places, 0)
  t.same(await ask().outcome, { kind: 'unplaced' })
  greet(peers[0]!, 1)
  await until(() => connections.places > 0)
  const { outcome } = ask()
  await begun(1)
  streams[0]!.answer()
  t.same(await outcome, ANSWERED)
  t.equal(peers.length, 1)
})

t.test(
  'an exchange that its client leaves while it waits for the SETTINGS never reaches the target',
  async (t) => {
    const { ask, peers, streams, greet, begun } = await setUp(t, { silent: true })
    const left = ask()
    const stayed = ask()
    await until(() => peers.length === 1)
    left.client.leave()
    t.same(await left.outcome, { kind: 'client-gone' })
    greet(peers[0]!, 100)
    await begun(1)
    streams[0]!.answer()
    t.same(await stayed.outcome, ANSWERED)
    t.equal(streams.length, 1)
  },
)

t.test('GOAWAY with an error says as well which streams were not processed', async (t) => {
  const { ask, streams, begun } = await setUp(t)
  const processed = ask({ method: 'POST' })
  await begun(1)
  const rest = ask({ method: 'POST' })
  await begun(2)
  streams[0]!.peer.send({ type: GOAWAY, payload: goaway(1, 0xb) })
  t.match(await processed.outcome, { kind: 'failed', unprocessed: false })
  t.match(await rest.outcome, { kind: 'failed', unprocessed: true })
})

t.test(
  'a GOAWAY that announces the end lets all streams finish; the next one has another connection',
  async (t) => {
    const { ask, peers, streams, frames, begun } = await setUp(t)
    const first = ask()
    await begun(1)
    streams[0]!.peer.send({ type: GOAWAY, payload: goaway(2 ** 31 - 1) })
    // The other side answers with its own.
    await until(() => frames.some(({ type }) => type === GOAWAY))
    const next = ask()
    await begun(2)
    t.equal(streams[1]!.peer.nth, 2)
    for (const stream of streams) stream.answer()
    for (const { outcome } of [first, next]) t.same(await outcome, ANSWERED)
    t.equal(peers.length, 2)
  },
)

t.test('a stream that is refused once its answer has begun was processed', async (t) => {
  const { ask, streams, begun } = await setUp(t)
  const { outcome } = ask()
  await begun(1)
  const { peer, id } = streams[0]!
  peer.send(
    { type: HEADERS, flags: END_HEADERS, stream: id, payload: STATUS_200 },
    { type: RST_STREAM, stream: id, payload: Buffer.from([0, 0, 0, 7]) },
  )
  t.match(await outcome, { kind: 'failed', unprocessed: false, answerBegan: true })
})

t.test(
  'a target that ends two connections after the same number of streams gets no more on the next',
  async (t) => {
    const { ask, connections, peers, streams, begun } = await setUp(t, { maxStreams: 100 })
    for (const nth of [1, 2]) {
      const outcomes = Array.from({ length: 5 }, () => ask().outcome)
      await begun(5 * nth)
      const own = streams.filter(({ peer }) => peer.nth === nth)
      own[0]!.peer.send({ type: GOAWAY, payload: goaway(own[2]!.id) })
      for (const stream of own.slice(0, 3)) stream.answer()
      const kinds = (await Promise.all(outcomes)).map(({ kind }) => kind)
      t.same(kinds, ['answered', 'answered', 'answered', 'failed', 'failed'])
    }
    const outcomes = Array.from({ length: 9 }, () => ask().outcome)
    await begun(19)
    t.same(
      streams.slice(10).map(({ peer }) => peer.nth - 2),
      [1, 1, 1, 2, 2, 2, 3, 3, 3],
    )
    for (const stream of streams.slice(10)) stream.answer()
    await Promise.all(outcomes)
    t.equal(peers.length, 5)
    connections.maxConnections = 2
    t.equal(connections.places, 6)
  },
)

t.test('a target that does not end a connection as it did before gets all streams again', async (t) => {
  const scheduler = createFakeScheduler()
  const transport = createTransport({ findAddresses: nothingToFind, scheduler })
  const { ask, connections, streams, begun } = await setUp(t, { maxStreams: 100, transport })
  connections.maxConnections = 1
  for (const nth of [1, 2]) {
    const outcomes = [ask().outcome, ask().outcome]
    await begun(2 * nth)
    const own = streams.filter(({ peer }) => peer.nth === nth)
    own[0]!.peer.send({ type: GOAWAY, payload: goaway(own[0]!.id) })
    own[0]!.answer()
    await Promise.all(outcomes)
  }
  const first = ask().outcome
  await begun(5)
  t.equal(connections.places, 1, 'it has carried all that is expected of it')
  await scheduler.advance(1000)
  t.equal(connections.places, 100)
  const second = ask().outcome
  await begun(6)
  t.equal(streams[4]!.peer, streams[5]!.peer)
  for (const stream of streams.slice(4)) stream.answer()
  t.same(await Promise.all([first, second]), [ANSWERED, ANSWERED])
})

/** A target that has left a stream out, and takes any number of bytes; an upload of two pieces to it is under way. */
async function setUpDoubted(t: Test) {
  const stage = await setUp(t)
  const first = [stage.ask({ method: 'POST' }), stage.ask({ method: 'POST' })]
  await stage.begun(2)
  stage.streams[0]!.peer.send({ type: GOAWAY, payload: goaway(1) })
  stage.streams[0]!.answer()
  for (const { outcome } of first) await outcome
  const { client, outcome } = stage.ask({ body: 'pushed' })
  await stage.begun(3)
  const { peer, id } = stage.streams[2]!
  const room = Buffer.from([0, 0x0f, 0, 0])
  peer.send({ type: WINDOW_UPDATE, payload: room }, { type: WINDOW_UPDATE, stream: id, payload: room })
  for (let n = 0; n < 3; n++) client.push(Buffer.alloc(60_000))
  const ofType = (type: number) => stage.frames.filter((each) => each.type === type)
  const bytes = () => ofType(DATA).reduce((sum, { payload }) => sum + payload.length, 0)
  await until(() => ofType(PING).length === 1 && bytes() === 120_000)
  return { ...stage, client, outcome, peer, bytes, ping: ofType(PING)[0]! }
}

t.test(
  'a target that has left streams out gets no more of an upload than is kept, until a PING',
  async (t) => {
    const { client, outcome, streams, peer, bytes, ping } = await setUpDoubted(t)
    t.equal(client.flowing, false)
    peer.send({ type: PING, flags: ACK, payload: ping.payload })
    await until(() => bytes() === 180_000)
    client.push(null)
    streams[2]!.answer()
    t.same(await outcome, ANSWERED)
  },
)

t.test('an upload that is left out is not taken from its client any further', async (t) => {
  const { client, outcome, peer, bytes, ping } = await setUpDoubted(t)
  peer.send({ type: GOAWAY, payload: goaway(0) }, { type: PING, flags: ACK, payload: ping.payload })
  t.match(await outcome, { kind: 'failed', unprocessed: true })
  t.equal(bytes(), 120_000)
  t.equal(client.record.bytesIn, 120_000)
})

t.test('an answer shows that the target has taken the stream of an upload', async (t) => {
  const { client, outcome, peer, streams, bytes } = await setUpDoubted(t)
  const { id } = streams[2]!
  peer.send({ type: HEADERS, flags: END_HEADERS, stream: id, payload: STATUS_200 })
  await until(() => bytes() === 180_000)
  client.push(null)
  peer.send({ type: DATA, flags: END_STREAM, stream: id })
  t.same(await outcome, ANSWERED)
})

t.test('a target that takes connections and says nothing: 504 after `timeouts.response`', async (t) => {
  const target = await startHttp2Target(t, PLAIN, () => {})
  const limits = { connectMs: 100, responseMs: 300 }
  const connections = connectionsTo({ ...target.options, ...limits, http2: true })
  t.match(await exchange(connections, { method: 'POST', body: 'x' }).outcome, {
    kind: 'failed',
    code: 'upstream_timeout',
    unconnected: true,
    bodyTouched: false,
  })
})

t.test('a target that speaks HTTP/1.1: 502, and the request has not been sent', async (t) => {
  const target = await startHttp2Target(
    t,
    PLAIN,
    () => {},
    ({ socket }) => {
      socket.end('HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n')
    },
  )
  const connections = connectionsTo({ ...target.options, http2: true })
  t.match(await exchange(connections, { method: 'POST', body: 'x' }).outcome, {
    kind: 'failed',
    code: 'upstream_unreachable',
    unconnected: true,
    bodyTouched: false,
  })
})

t.test('without `keepAlive` each exchange has a connection, which ends with it', async (t) => {
  const { options } = await startHttp2Target(t, PLAIN, (peer, { type, flags, stream }) => {
    if (type === SETTINGS && flags !== ACK) peer.send({ type: SETTINGS }, { type: SETTINGS, flags: ACK })
    if (type === HEADERS)
      peer.send({ type: HEADERS, flags: END_HEADERS | END_STREAM, stream, payload: STATUS_200 })
  })
  const connections = connectionsTo({ ...options, http2: true, keepAlive: false })
  for (let n = 0; n < 3; n++) t.same(await exchange(connections).outcome, ANSWERED)
  await connections.close()
})
