import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket, connect as tcpConnect } from 'node:net'
import { type TLSSocket, connect as tlsConnect, createServer as tlsServer } from 'node:tls'
import type { Test } from 'tap'
import { systemScheduler } from '../../../gateway/core/scheduler.ts'
import type { InboundRequest, InboundResponse } from '../../../gateway/exchange/inbound.ts'
import { createWire } from '../../../gateway/http1/wire.ts'
import type { Arrival, Unparsed } from '../../../gateway/pipeline/gateway.ts'
import { createConnectionRegistry } from '../../../gateway/server/connection-registry.ts'
import { createHttp1Server } from '../../../gateway/server/http1/http1-server.ts'
import { createAuthority } from '../../support/certificates.ts'

export const TRANSPORTS = ['tcp', 'tls'] as const

export type Transport = (typeof TRANSPORTS)[number]

const wire = createWire()

/** An exchange as it is handed to the gateway, here to the test. */
export interface Handed {
  readonly request: InboundRequest
  readonly response: InboundResponse
  readonly arrival: Arrival
  /** Bytes of body that were read so far, and how the reading went. */
  body: string
  bodyEnd: 'none' | 'end' | 'broken'
  /** The response has closed. */
  closed: boolean
  /** What could not be read of it, as it was answered. */
  unreadable: string | null
}

export interface StageOptions {
  readonly transport?: Transport
  /** What is done with each exchange; without it nothing is. */
  readonly handle?: (handed: Handed) => void
  readonly headersTimeoutMs?: number
  readonly requestTimeoutMs?: number
  readonly keepAliveTimeoutMs?: number
  readonly maxHeaderBytes?: number
}

export interface Http1Stage {
  readonly port: number
  readonly transport: Transport
  readonly handed: readonly Handed[]
  readonly unparsed: readonly Unparsed[]
  /** Sockets of the server's side. */
  readonly sockets: readonly Socket[]
  closeIdle(): void
  closeAll(): void
  connect(): Promise<Client>
}

/** The connections of clients, with the test in the gateway's place. */
export async function startStage(t: Test, options: StageOptions = {}): Promise<Http1Stage> {
  const { transport = 'tcp', handle } = options
  const handed: Handed[] = []
  const unparsed: Unparsed[] = []
  const sockets: Socket[] = []
  const registry = createConnectionRegistry()
  const gateway = {
    async handle(request: InboundRequest, response: InboundResponse, arrival: Arrival = {}) {
      const one: Handed = {
        request,
        response,
        arrival,
        body: '',
        bodyEnd: 'none',
        closed: false,
        unreadable: null,
      }
      handed.push(one)
      response.setOwner({
        onClose() {
          if (one.closed) throw new Error('told twice')
          one.closed = true
        },
        onUnreadable(code) {
          if (response.headersSent) return false
          one.unreadable = code
          response.sendWhole(
            code === 'request_timeout' ? 408 : 400,
            ['Content-Length', '3'],
            Buffer.from('bad'),
          )
          return true
        },
      })
      handle?.(one)
    },
    recordUnparsed: (what: Unparsed) => void unparsed.push(what),
  }
  const http1 = createHttp1Server(gateway, registry, {
    wire,
    scheduler: systemScheduler,
    wallClock: () => Date.UTC(2026, 0, 1),
    requestId: randomUUID,
    hsts: null,
    maxHeaderBytes: options.maxHeaderBytes ?? 16_384,
    headersTimeoutMs: options.headersTimeoutMs ?? 10_000,
    requestTimeoutMs: options.requestTimeoutMs ?? 60_000,
    keepAliveTimeoutMs: options.keepAliveTimeoutMs ?? 65_000,
  })
  const serve = (socket: Socket) => {
    sockets.push(socket)
    http1.serve(socket)
  }
  const certificate =
    transport === 'tls' ? createAuthority(t, 'a test').issue('localhost', ['DNS:localhost']) : null
  const server =
    certificate === null
      ? createServer({ allowHalfOpen: true, noDelay: true }, serve)
      : tlsServer({ ...certificate, ALPNProtocols: ['http/1.1'] }, serve)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  t.teardown(() => {
    server.close()
    for (const socket of sockets) socket.destroy()
  })
  return {
    port,
    transport,
    handed,
    unparsed,
    sockets,
    closeIdle: () => registry.closeIdle(),
    closeAll: () => registry.closeAll(),
    async connect() {
      const client = await connectTo(port, transport)
      t.teardown(() => client.socket.destroy())
      return client
    },
  }
}

/** A client by hand. */
export interface Client {
  readonly socket: Socket
  /** All that came, as latin1. */
  readonly text: string
  /** How the connection ended; null while it has not. */
  readonly end: 'end' | 'reset' | null
  write(text: string): void
  /** Resolves once it came, in what came behind the previous call's. */
  sees(text: string): Promise<void>
  /** Resolves once the server has ended the connection, in order or not. */
  readonly ended: Promise<void>
}

async function connectTo(port: number, transport: Transport): Promise<Client> {
  const to = { port, host: '127.0.0.1', allowHalfOpen: true }
  const socket: Socket | TLSSocket =
    transport === 'tcp'
      ? tcpConnect(to)
      : tlsConnect({ ...to, servername: 'localhost', rejectUnauthorized: false })
  socket.setNoDelay(true)
  let text = ''
  let seen = 0
  let end: 'end' | 'reset' | null = null
  let onChange = () => {}
  const ended = new Promise<void>((resolve) => {
    const stop = (how: 'end' | 'reset') => {
      end ??= how
      onChange()
      resolve()
    }
    socket.on('end', () => stop('end'))
    socket.on('error', () => stop('reset'))
    socket.on('close', () => stop('reset'))
  })
  socket.on('data', (data) => {
    text += data.toString('latin1')
    onChange()
  })
  await once(socket, transport === 'tcp' ? 'connect' : 'secureConnect')
  return {
    socket,
    ended,
    get text() {
      return text
    },
    get end() {
      return end
    },
    write: (bytes) => void socket.write(bytes, 'latin1'),
    sees(what) {
      return new Promise((resolve, reject) => {
        onChange = () => {
          const at = text.indexOf(what, seen)
          if (at !== -1) {
            seen = at + what.length
            onChange = () => {}
            resolve()
          } else if (end !== null)
            reject(new Error(`${JSON.stringify(what)} did not come, but ${JSON.stringify(text)}`))
        }
        onChange()
      })
    },
  }
}

/** Answers each exchange at once with what it asked for. */
export function answerTarget({ request, response }: Handed): void {
  const body = Buffer.from(request.target)
  response.sendWhole(200, ['Content-Length', String(body.length)], body)
}

/** Reads the body into `handed.body`, and answers behind its end. */
export function echo(handed: Handed): void {
  readBody(handed, () => {
    const body = Buffer.from(`${handed.request.method} ${handed.request.target} ${handed.body}`, 'latin1')
    handed.response.writeHead(200, 'OK', ['Content-Length', String(body.length)])
    handed.response.end(body)
  })
}

export function readBody(handed: Handed, onEnd: () => void): void {
  const { request } = handed
  if (!request.hasBody) {
    handed.bodyEnd = 'end'
    onEnd()
    return
  }
  request.readBody({
    onChunk(chunk) {
      handed.body += chunk.toString('latin1')
    },
    onEnd() {
      handed.bodyEnd = 'end'
      onEnd()
    },
    onBrokenOff() {
      handed.bodyEnd = 'broken'
    },
  })
  request.resume()
}

export const GET = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n'

export function get(target: string, ...fields: readonly string[]): string {
  return `GET ${target} HTTP/1.1\r\n${['Host: a', ...fields].join('\r\n')}\r\n\r\n`
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}

export async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await pause(2)
}
