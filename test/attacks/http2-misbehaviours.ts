import {
  CONTINUATION,
  DATA,
  END_HEADERS,
  END_STREAM,
  type Frame,
  frame,
  GOAWAY,
  goaway,
  HEADERS,
  literal,
  PING,
  RST_STREAM,
  SETTINGS,
  settings,
  WINDOW_UPDATE,
} from '../support/http2-frames.ts'
import { type Http2Peer, STATUS_200 } from '../support/http2-target.ts'

const PRIORITY = 0x2
const PUSH_PROMISE = 0x5
const PADDED = 0x8
const INITIAL_WINDOW_SIZE = 4
const NO_ERROR = 0

/** What the client gets: the whole answer, 502, or an answer that is cut. */
export type Expected = 'whole' | 'refused' | 'cut'
export type Attack = (peer: Http2Peer, id: number) => void

const number = (value: number) => {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}

const fields = (...pairs: [string, string][]) => pairs.map(([name, value]) => literal(name, value))
const head = (stream: number, block: Buffer[] = [], flags = 0): Frame => ({
  type: HEADERS,
  flags: END_HEADERS | flags,
  stream,
  payload: Buffer.concat([STATUS_200, ...block]),
})
const only = (stream: number, block: Buffer[], flags = 0): Frame => ({
  type: HEADERS,
  flags: END_HEADERS | flags,
  stream,
  payload: Buffer.concat(block),
})
const data = (stream: number, text = 'ok', flags = 0): Frame => ({
  type: DATA,
  flags,
  stream,
  payload: Buffer.from(text),
})
export const ok = (stream: number) => [head(stream), data(stream, 'ok', END_STREAM)]
const update = (stream: number, value: number): Frame => ({
  type: WINDOW_UPDATE,
  stream,
  payload: number(value),
})

/** Sends these frames. */
export const send =
  (framesOf: (id: number) => readonly Frame[]): Attack =>
  (peer, id) =>
    peer.send(...framesOf(id))

/** Sends the first frames, and then the others again and again, as long as they are read. */
function pour(first: (id: number) => readonly Frame[], again: (id: number) => readonly Frame[]): Attack {
  return ({ socket, send }, id) => {
    send(...first(id))
    const one = Buffer.concat(again(id).map(frame))
    const block = Buffer.concat(Array.from({ length: Math.ceil(20_000 / one.length) }, () => one))
    const more = () => {
      while (!socket.destroyed) if (!socket.write(block)) return void socket.once('drain', more)
    }
    more()
  }
}

const none = () => []

/** What a target does with each request. */
export const MISBEHAVIOURS: Record<string, readonly [Expected, Attack]> = {
  'a whole answer': ['whole', send(ok)],
  'frames of unknown types': [
    'whole',
    send((id) => [{ type: 0x20, stream: id }, { type: 0x21, payload: Buffer.alloc(100) }, ...ok(id)]),
  ],
  'a reset without an error behind a whole answer': [
    'whole',
    send((id) => [...ok(id), { type: RST_STREAM, stream: id, payload: number(NO_ERROR) }]),
  ],
  'DATA behind the end': ['whole', send((id) => [...ok(id), data(id, 'more')])],
  'HEADERS behind the end': ['whole', send((id) => [...ok(id), head(id)])],
  'DATA before HEADERS': ['refused', send((id) => [data(id), ...ok(id)])],
  'two heads': ['cut', send((id) => [head(id), head(id), data(id, 'ok', END_STREAM)])],
  'a head behind DATA': ['cut', send((id) => [head(id), data(id), head(id), data(id, 'ok', END_STREAM)])],
  'no status': ['refused', send((id) => [only(id, fields(['a', 'b'])), data(id, 'ok', END_STREAM)])],
  'two statuses': [
    'refused',
    send((id) => [head(id, fields([':status', '404'])), data(id, 'ok', END_STREAM)]),
  ],
  'a status that is no number': [
    'refused',
    send((id) => [only(id, fields([':status', 'abc'])), data(id, 'ok', END_STREAM)]),
  ],
  'a status of four digits': [
    'refused',
    send((id) => [only(id, fields([':status', '2000'])), data(id, 'ok', END_STREAM)]),
  ],
  'an interim head that ends the stream': [
    'refused',
    send((id) => [only(id, fields([':status', '103']), END_STREAM)]),
  ],
  '101': ['refused', send((id) => [only(id, fields([':status', '101'])), data(id, 'ok', END_STREAM)])],
  'a pseudo-header field of requests': [
    'refused',
    send((id) => [head(id, fields([':path', '/'])), data(id, 'ok', END_STREAM)]),
  ],
  'a name in capitals': [
    'refused',
    send((id) => [head(id, fields(['X-A', 'b'])), data(id, 'ok', END_STREAM)]),
  ],
  'a line break in a value, with which its field is dropped': [
    'whole',
    send((id) => [head(id, fields(['a', 'b\r\nset-cookie: c=d'])), data(id, 'ok', END_STREAM)]),
  ],
  'a field of connections': [
    'refused',
    send((id) => [head(id, fields(['transfer-encoding', 'chunked'])), data(id, 'ok', END_STREAM)]),
  ],
  'two lengths': [
    'refused',
    send((id) => [
      head(id, fields(['content-length', '2'], ['content-length', '3'])),
      data(id, 'ok', END_STREAM),
    ]),
  ],
  'less DATA than its length': [
    'cut',
    send((id) => [head(id, fields(['content-length', '5'])), data(id, 'ok', END_STREAM)]),
  ],
  'more DATA than its length': [
    'cut',
    send((id) => [head(id, fields(['content-length', '1'])), data(id, 'ok', END_STREAM)]),
  ],
  'a length without DATA': ['refused', send((id) => [head(id, fields(['content-length', '5']), END_STREAM)])],
  'trailers with a pseudo-header field': [
    'cut',
    send((id) => [head(id), data(id), only(id, fields([':status', '200']), END_STREAM)]),
  ],
  'trailers that do not end the stream': [
    'cut',
    send((id) => [head(id), data(id), only(id, fields(['a', 'b']))]),
  ],
  'a window that grows by nothing': ['refused', send((id) => [update(id, 0), ...ok(id)])],
  "a connection's window that grows by nothing": ['refused', send((id) => [update(0, 0), ...ok(id)])],
  'a window past its bound': ['refused', send((id) => [update(id, 0x7fffffff), ...ok(id)])],
  "a connection's window past its bound": ['refused', send((id) => [update(0, 0x7fffffff), ...ok(id)])],
  'a first window past its bound': [
    'refused',
    send((id) => [{ type: SETTINGS, payload: settings([[INITIAL_WINDOW_SIZE, 0xffffffff]]) }, ...ok(id)]),
  ],
  'SETTINGS of five bytes': [
    'refused',
    send((id) => [{ type: SETTINGS, payload: Buffer.alloc(5) }, ...ok(id)]),
  ],
  'a push': [
    'refused',
    send((id) => [
      { type: PUSH_PROMISE, flags: END_HEADERS, stream: id, payload: Buffer.concat([number(2), STATUS_200]) },
      ...ok(id),
    ]),
  ],
  'an answer on a stream of its own': ['refused', send(() => ok(2))],
  'an answer on a stream that was never begun': ['refused', send((id) => ok(id + 2))],
  'DATA on the connection': ['refused', send((id) => [data(0), ...ok(id)])],
  'CONTINUATION without HEADERS': [
    'refused',
    send((id) => [{ type: CONTINUATION, flags: END_HEADERS, stream: id, payload: STATUS_200 }, ...ok(id)]),
  ],
  'a frame within a header block': [
    'refused',
    send((id) => [{ type: HEADERS, stream: id, payload: STATUS_200 }, data(id), ...ok(id)]),
  ],
  'a block that cannot be read': [
    'refused',
    send((id) => [only(id, [Buffer.from([0xff, 0xff, 0xff, 0xff, 0xff, 0x0f])])]),
  ],
  'more padding than its frame has': [
    'cut',
    send((id) => [
      head(id),
      { type: DATA, flags: PADDED | END_STREAM, stream: id, payload: Buffer.from([9, 1]) },
    ]),
  ],
  'a frame past the largest size': [
    'cut',
    send((id) => [head(id), data(id, 'x'.repeat(16_385), END_STREAM)]),
  ],
  'more DATA than its window': [
    'cut',
    (peer, id) => peer.send(head(id), ...Array.from({ length: 600 }, () => data(id, 'x'.repeat(16_384)))),
  ],
  'GOAWAY with a last stream that grows': [
    'refused',
    send((id) => [{ type: GOAWAY, payload: goaway(0) }, { type: GOAWAY, payload: goaway(id) }, ...ok(id)]),
  ],
  'GOAWAY for every request': ['refused', send(() => [{ type: GOAWAY, payload: goaway(0) }])],
  'an end in the middle of a frame': [
    'cut',
    ({ socket }, id) =>
      socket.end(Buffer.concat([frame(head(id)), frame(data(id, 'x'.repeat(100))).subarray(0, 50)])),
  ],
  "an end without the stream's": [
    'cut',
    ({ socket }, id) => socket.end(Buffer.concat([head(id), data(id)].map(frame))),
  ],
  'HTTP/1.1': ['refused', ({ socket }) => socket.end('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok')],
  'SETTINGS without end': [
    'refused',
    pour(none, () => [{ type: SETTINGS, payload: settings([[INITIAL_WINDOW_SIZE, 65_535]]) }]),
  ],
  'PING without end': ['refused', pour(none, () => [{ type: PING, payload: Buffer.alloc(8) }])],
  'PRIORITY without end': [
    'refused',
    pour(none, (id) => [{ type: PRIORITY, stream: id, payload: Buffer.alloc(5) }]),
  ],
  'unknown frames without end': ['refused', pour(none, () => [{ type: 0x20, payload: Buffer.alloc(100) }])],
  'interim heads without end': ['refused', pour(none, (id) => [only(id, fields([':status', '103']))])],
  'a header block without end': [
    'refused',
    pour(
      (id) => [{ type: HEADERS, stream: id, payload: STATUS_200 }],
      (id) => [{ type: CONTINUATION, stream: id, payload: Buffer.concat(fields(['a', 'b'.repeat(1000)])) }],
    ),
  ],
  'a header block of empty frames without end': [
    'refused',
    pour(
      (id) => [{ type: HEADERS, stream: id, payload: STATUS_200 }],
      (id) => [{ type: CONTINUATION, stream: id }],
    ),
  ],
  'DATA of nothing without end': [
    'cut',
    pour(
      (id) => [head(id)],
      (id) => [data(id, '')],
    ),
  ],
  '1,600 empty fields': [
    'refused',
    send((id) => [
      head(
        id,
        Array.from({ length: 1600 }, () => literal('a', '')),
      ),
      data(id, 'ok', END_STREAM),
    ]),
  ],
}
