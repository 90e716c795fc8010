import { randomBytes } from 'node:crypto'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { TLSSocket } from 'node:tls'
import type { Certificate } from './certificates.ts'
import type { Misbehaviour, Stage } from './misbehaviours.ts'
import { CANCEL_REQUEST, message, SSL_REQUEST } from './postgres-messages.ts'

/** Stands in a database server's place: at times a relay to the real one, at times a server that misbehaves. */
export interface FalseServer {
  readonly port: number
  /**
   * Closes all connections. From now on each connection meets the next of these, again and again; with none of them
   * the real server is back.
   */
  misbehave(all: readonly Misbehaviour[]): void
  /** Those that were met since. */
  readonly met: ReadonlySet<Misbehaviour>
  close(): void
}

export async function startFalseServer(targetPort: number, tls: Certificate): Promise<FalseServer> {
  const sockets = new Set<Socket>()
  let all: readonly Misbehaviour[] = []
  let next = 0
  let met = new Set<Misbehaviour>()

  function keep(socket: Socket): void {
    sockets.add(socket)
    socket.setNoDelay(true)
    socket.on('error', () => {})
    socket.once('close', () => sockets.delete(socket))
  }

  function relay(client: Socket): void {
    const upstream = connect(targetPort, '127.0.0.1')
    keep(upstream)
    client.pipe(upstream)
    upstream.pipe(client)
    client.once('close', () => upstream.destroy())
    upstream.once('close', () => client.destroy())
  }

  const server = createServer((client) => {
    keep(client)
    if (all.length === 0) {
      relay(client)
      return
    }
    const misbehaviour = all[next++ % all.length]!
    const at: At = (stage, socket) => {
      if (stage !== misbehaviour.stage) return false
      met.add(misbehaviour)
      misbehaviour.act(socket)
      // Its end is to be noticed.
      socket.resume()
      return true
    }
    converse(client, { tls, scram: /SCRAM/.test(misbehaviour.stage), at }).catch(() => client.destroy())
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    port: (server.address() as AddressInfo).port,
    misbehave(some) {
      all = some
      next = 0
      met = new Set()
      for (const socket of sockets) socket.destroy()
    },
    get met() {
      return met
    },
    close() {
      server.close()
      for (const socket of sockets) socket.destroy()
    },
  }
}

/** @returns true where it has misbehaved, and nothing is left to say */
type At = (stage: Stage, socket: Duplex) => boolean

interface Conversation {
  readonly tls: Certificate
  /** The server asks for a password; otherwise it trusts everybody. */
  readonly scram: boolean
  readonly at: At
}

/** A connection as PostgreSQL begins it. */
async function converse(client: Socket, { tls, scram, at }: Conversation): Promise<void> {
  if (at('accepted', client)) return
  let socket: Duplex = client
  let first = await read(client)
  if (codeOf(first) === SSL_REQUEST) {
    if (at('asked for TLS', client)) return
    client.write('S')
    const hello = await read(client)
    if (at('greeted by TLS', client)) return
    client.unshift(hello)
    socket = new TLSSocket(client, { isServer: true, cert: tls.cert, key: tls.key })
    socket.on('error', () => {})
    first = await read(socket)
  }
  if (codeOf(first) === CANCEL_REQUEST) {
    client.destroy()
    return
  }
  if (at('started up', socket)) return
  if (scram) {
    await authenticate(socket, at)
    return
  }
  socket.write(message('R', 0))
  if (at('authenticated', socket)) return
  socket.write(message('S', 'server_version\x0018.0\0'))
  socket.write(Buffer.concat([message('K', 1, 2), message('Z', 'I')]))
  if (at('ready', socket)) return
  await read(socket)
  at('asked a query', socket)
}

/** Up to the signature, which a server without the password's verifier cannot have. */
async function authenticate(socket: Duplex, at: At): Promise<void> {
  socket.write(message('R', 10, 'SCRAM-SHA-256\0\0'))
  const initial = await read(socket)
  if (at('told the first SCRAM message', socket)) return
  const nonce = /r=([^,]*)/.exec(initial.toString('latin1'))?.[1] ?? ''
  const salt = randomBytes(16).toString('base64')
  socket.write(message('R', 11, `r=${nonce}${randomBytes(9).toString('base64')},s=${salt},i=4096`))
  await read(socket)
  at('told the last SCRAM message', socket)
}

const codeOf = (startup: Buffer) => (startup.length >= 8 ? startup.readInt32BE(4) : 0)

/** What the client says next: it waits for an answer after each of its messages here, so that a piece is one of them. */
function read(socket: Duplex): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const end = () => reject(new Error('the client has left'))
    socket.once('close', end)
    socket.once('end', end)
    socket.once('data', (piece: Buffer) => {
      socket.pause()
      socket.off('close', end)
      socket.off('end', end)
      resolve(piece)
    })
    socket.resume()
  })
}
