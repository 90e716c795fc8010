import { once } from 'node:events'
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls'

/** Frame types and flags (RFC 9113, section 6). */
export const DATA = 0x0
export const HEADERS = 0x1
export const RST_STREAM = 0x3
export const SETTINGS = 0x4
export const PING = 0x6
export const GOAWAY = 0x7
export const WINDOW_UPDATE = 0x8
export const CONTINUATION = 0x9
export const END_STREAM = 0x1
export const ACK = 0x1
export const END_HEADERS = 0x4

export interface Frame {
  readonly type: number
  readonly flags?: number
  readonly stream?: number
  readonly payload?: Buffer
}

export function frame({ type, flags = 0, stream = 0, payload = Buffer.alloc(0) }: Frame): Buffer {
  const head = Buffer.alloc(9)
  head.writeUIntBE(payload.length, 0, 3)
  head[3] = type
  head[4] = flags
  head.writeUInt32BE(stream, 5)
  return Buffer.concat([head, payload])
}

/** The whole frames at the beginning of `bytes`, and what is behind them. */
export function readFrames(bytes: Buffer): {
  readonly frames: Required<Frame>[]
  readonly rest: Buffer<ArrayBuffer>
} {
  const frames: Required<Frame>[] = []
  let rest = Buffer.from(bytes)
  while (rest.length >= 9 && rest.length >= 9 + rest.readUIntBE(0, 3)) {
    const end = 9 + rest.readUIntBE(0, 3)
    frames.push({
      type: rest[3]!,
      flags: rest[4]!,
      stream: rest.readUInt32BE(5),
      payload: rest.subarray(9, end),
    })
    rest = rest.subarray(end)
  }
  return { frames, rest }
}

/** The payload of SETTINGS (RFC 9113, section 6.5.1). */
export function settings(pairs: readonly (readonly [id: number, value: number])[]): Buffer {
  const payload = Buffer.alloc(6 * pairs.length)
  for (const [i, [id, value]] of pairs.entries()) {
    payload.writeUInt16BE(id, 6 * i)
    payload.writeUInt32BE(value, 6 * i + 2)
  }
  return payload
}

export const MAX_CONCURRENT_STREAMS = 0x3

/** The payload of GOAWAY (RFC 9113, section 6.8). */
export function goaway(lastStream: number, code = 0): Buffer {
  const payload = Buffer.alloc(8)
  payload.writeUInt32BE(lastStream, 0)
  payload.writeUInt32BE(code, 4)
  return payload
}

/** A field in HPACK's plainest form (RFC 7541, section 6.2.2), whatever its name and value hold. */
export function literal(name: string, value: string, firstByte = 0): Buffer {
  return Buffer.concat([Buffer.from([firstByte]), text(name), text(value)])
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value, 'latin1')
  return Buffer.concat([length(bytes.length), bytes])
}

/** An integer with a prefix of 7 bits (RFC 7541, section 5.1). */
function length(value: number): Buffer {
  if (value < 127) return Buffer.from([value])
  const bytes = [127]
  let left = value - 127
  for (; left >= 128; left = Math.floor(left / 128)) bytes.push((left % 128) + 128)
  return Buffer.from([...bytes, left])
}

/** The fields every request has. */
export function requestBlock(fields: readonly (readonly [string, string])[] = [], path = '/'): Buffer {
  const all = [
    [':method', 'GET'],
    [':scheme', 'https'],
    [':authority', 'app.example.com'],
    [':path', path],
    ...fields,
  ] as const
  return Buffer.concat(all.map(([name, value]) => literal(name, value)))
}

export interface RawHttp2 {
  readonly socket: TLSSocket
  /** All frames that came so far. */
  readonly frames: Required<Frame>[]
  /** When the server ended the connection. */
  readonly ended: Promise<void>
  /** Resolves with the first frame, past or future, of this type; null where the connection ends without it. */
  frame(type: number): Promise<Required<Frame> | null>
  send(...frames: Frame[]): boolean
}

/** A connection of HTTP/2 that says what it likes. The preface and empty SETTINGS are sent. */
export async function rawHttp2(
  port: number,
  options: ConnectionOptions & { readonly allowHalfOpen?: boolean } = {},
): Promise<RawHttp2> {
  const ours = { port, host: '127.0.0.1', rejectUnauthorized: false, ALPNProtocols: ['h2'] }
  const socket = connect({ ...ours, ...options })
  await once(socket, 'secureConnect')
  const frames: Required<Frame>[] = []
  let rest = Buffer.alloc(0)
  socket.on('data', (data: Buffer) => {
    const read = readFrames(Buffer.concat([rest, data]))
    frames.push(...read.frames)
    rest = read.rest
  })
  let over = false
  const ended = new Promise<void>((resolve) => socket.once('close', () => resolve()))
  void ended.then(() => {
    over = true
  })
  socket.on('error', () => {})
  socket.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')
  socket.write(frame({ type: SETTINGS }))
  return {
    socket,
    frames,
    ended,
    async frame(type) {
      for (;;) {
        const found = frames.find((each) => each.type === type)
        if (found !== undefined || over) return found ?? null
        await Promise.race([once(socket, 'data').catch(() => {}), ended])
      }
    },
    send: (...all) => socket.write(Buffer.concat(all.map(frame))),
  }
}
