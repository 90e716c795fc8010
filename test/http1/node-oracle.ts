import { createServer, type IncomingMessage, type RequestOptions, request, type Server } from 'node:http'
import { Duplex } from 'node:stream'

/** A message as Node read it. */
export interface NodeMessage {
  /** Method and target of a request, status and reason of a response. */
  readonly line: string
  readonly version: string
  readonly fields: readonly string[]
  body: string
  trailers: readonly string[]
  complete: boolean
}

export interface NodeInformation {
  readonly status: number
  readonly fields: readonly string[]
}

export interface NodeResponse extends NodeMessage {
  /** The interim responses before it. */
  readonly informational: readonly NodeInformation[]
}

/** A connection without a network: what is written to it is dropped. */
class Bytes extends Duplex {
  override _read(): void {}

  override _write(_chunk: unknown, _encoding: string, done: () => void): void {
    done()
  }

  /** Each piece arrives in a turn of its own, as reads of a socket do. */
  async send(pieces: readonly Buffer[], ends = true): Promise<void> {
    for (const piece of pieces) {
      if (this.destroyed) return
      this.push(piece)
      await turn()
    }
    if (ends && !this.destroyed) this.push(null)
    await turn()
    await turn()
    this.destroy()
    await turn()
  }
}

const turn = () => new Promise<void>((resolve) => setImmediate(resolve))

function collect(message: IncomingMessage, line: string): NodeMessage {
  const found: NodeMessage = {
    line,
    version: message.httpVersion,
    fields: message.rawHeaders,
    body: '',
    trailers: [],
    complete: false,
  }
  message.setEncoding('latin1')
  message.on('error', () => {})
  message.on('data', (text: string) => {
    found.body += text
  })
  message.on('end', () => {
    found.complete = message.complete
    found.trailers = message.rawTrailers
  })
  return found
}

/** What Node made of the answer to a handshake: a switch with what stands behind it, or another answer. */
export interface NodeHandshake {
  readonly switched: { readonly fields: readonly string[]; rest: string } | null
  readonly answer: NodeResponse | null
}

export const NODE_MAX_HEADER_SIZE = 16 * 1024

/** Node's own server and client, which read bytes without a network. */
export class NodeOracle {
  readonly #server: Server
  #messages: NodeMessage[] = []

  constructor() {
    const options = {
      insecureHTTPParser: false,
      requireHostHeader: false,
      maxHeaderSize: NODE_MAX_HEADER_SIZE,
    }
    this.#server = createServer(options)
    this.#server.maxHeadersCount = 0
    for (const event of ['request', 'checkExpectation', 'checkContinue']) {
      this.#server.on(event, (incoming: IncomingMessage, response) => {
        this.#messages.push(collect(incoming, `${incoming.method} ${incoming.url}`))
        response.end()
      })
    }
    // Without a listener the connection is destroyed, and whole requests before the error with it.
    this.#server.on('clientError', () => {})
  }

  async readRequests(pieces: readonly Buffer[]): Promise<readonly NodeMessage[]> {
    this.#messages = []
    const bytes = new Bytes()
    bytes.on('error', () => {})
    this.#server.emit('connection', bytes)
    await bytes.send(pieces)
    return this.#messages
  }

  /**
   * @param ends whether the connection ends behind the pieces, or is broken
   * @returns the final response, or null where there was none
   */
  async readResponse(method: string, pieces: readonly Buffer[], ends = true): Promise<NodeResponse | null> {
    const { answer } = await this.#ask({ method }, pieces, ends)
    return answer
  }

  /** Reads the answer to a WebSocket handshake. */
  readHandshake(pieces: readonly Buffer[], ends = true): Promise<NodeHandshake> {
    const headers = { Connection: 'Upgrade', Upgrade: 'websocket' }
    return this.#ask({ method: 'GET', headers }, pieces, ends)
  }

  async #ask(options: RequestOptions, pieces: readonly Buffer[], ends: boolean): Promise<NodeHandshake> {
    const bytes = new Bytes()
    bytes.on('error', () => {})
    let answer: NodeResponse | null = null
    let switched: { readonly fields: readonly string[]; rest: string } | null = null
    const informational: NodeInformation[] = []
    const outgoing = request({
      ...options,
      host: 'a',
      insecureHTTPParser: false,
      maxHeaderSize: NODE_MAX_HEADER_SIZE,
      createConnection: () => bytes,
    })
    outgoing.on('error', () => {})
    outgoing.on('information', ({ statusCode, rawHeaders }) => {
      informational.push({ status: statusCode, fields: rawHeaders })
    })
    outgoing.on('response', (incoming) => {
      const message = collect(incoming, `${incoming.statusCode} ${incoming.statusMessage}`)
      answer = Object.assign(message, { informational })
    })
    if (options.headers !== undefined)
      outgoing.on('upgrade', (incoming, socket, head) => {
        const found = { fields: incoming.rawHeaders, rest: head.toString('latin1') }
        socket.on('data', (chunk: Buffer) => {
          found.rest += chunk.toString('latin1')
        })
        switched = found
      })
    outgoing.end()
    await turn()
    await bytes.send(pieces, ends)
    return { switched, answer }
  }
}
