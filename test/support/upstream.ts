import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { ByteReader, type RecordedRequest, readRequest } from './http-message.ts'

export type { RecordedRequest } from './http-message.ts'

export interface RecordedConnection {
  readonly socket: Socket
  /** Every byte that came so far. */
  bytes(): Buffer
  /** Resolves once the bytes so far contain the text. */
  sees(text: string): Promise<void>
  /** When the connection is over, however it ended. */
  readonly closed: Promise<void>
}

/** Writes the answer itself, whatever it is worth. */
export type Respond = (request: RecordedRequest, socket: Socket) => void

export interface RecordingUpstream {
  readonly url: string
  readonly port: number
  readonly connections: readonly RecordedConnection[]
  /** All requests in the order in which they were answered. */
  readonly requests: readonly RecordedRequest[]
  /** The first request that no earlier call got, past or future. */
  next(): Promise<RecordedRequest>
  /** Changes how requests from now on are answered. */
  respond(respond: Respond, at?: 'end' | 'head'): void
  close(): Promise<void>
}

/**
 * A backend of plain sockets, whose reading of a request's framing is its own and not Node's.
 * @param at whether `respond` is called when the request is whole or as soon as its head is there
 */
export async function startRecordingUpstream(
  respond: Respond = answerOk,
  at: 'end' | 'head' = 'end',
): Promise<RecordingUpstream> {
  const connections: RecordedConnection[] = []
  const requests: RecordedRequest[] = []
  const unclaimed: RecordedRequest[] = []
  const waiting: ((request: RecordedRequest) => void)[] = []
  let behaviour = { respond, at }

  function record(request: RecordedRequest): void {
    requests.push(request)
    const tell = waiting.shift()
    if (tell === undefined) unclaimed.push(request)
    else tell(request)
  }

  async function serve(socket: Socket, reader: ByteReader): Promise<void> {
    for (;;) {
      let early = false
      const request = await readRequest(reader, (head) => {
        if (behaviour.at !== 'head') return
        early = true
        record(head)
        behaviour.respond(head, socket)
      })
      if (request === null) return
      if (early) continue
      record(request)
      behaviour.respond(request, socket)
    }
  }

  const server = createServer({ noDelay: true }, (socket) => {
    const reader = new ByteReader()
    connections.push(recordConnection(socket, reader))
    // A request that breaks off is told by the connection's end.
    serve(socket, reader).catch(() => {})
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  return {
    url: `http://127.0.0.1:${port}`,
    port,
    connections,
    requests,
    next() {
      const past = unclaimed.shift()
      if (past !== undefined) return Promise.resolve(past)
      return new Promise((resolve) => waiting.push(resolve))
    },
    respond(respond, at = 'end') {
      behaviour = { respond, at }
    },
    async close() {
      server.close()
      for (const { socket } of connections) socket.destroy()
      await Promise.all(connections.map(({ closed }) => closed))
    },
  }
}

/** 200 with a small body, on a connection that is kept. */
export function answerOk(_request: RecordedRequest, socket: Socket): void {
  socket.write('HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok')
}

function recordConnection(socket: Socket, reader: ByteReader): RecordedConnection {
  const chunks: Buffer[] = []
  let ended = false
  socket.on('data', (chunk: Buffer) => {
    chunks.push(chunk)
    reader.push(chunk)
  })
  socket.on('error', () => {})
  socket.on('end', () => reader.finish())
  const closed = new Promise<void>((resolve) => {
    socket.on('close', () => {
      ended = true
      reader.finish()
      resolve()
    })
  })
  const bytes = () => Buffer.concat(chunks)
  return {
    socket,
    bytes,
    async sees(text) {
      while (!bytes().includes(text)) {
        if (ended) throw new Error(`the connection ended before ${text}`)
        await Promise.race([once(socket, 'data'), closed])
      }
    },
    closed,
  }
}
