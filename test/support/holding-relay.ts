import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { createMessageReader } from './postgres-messages.ts'

/** Stands between a client and PostgreSQL, and holds statements back between their Bind and their Execute. */
export interface HoldingRelay {
  readonly port: number
  /** From now on, where the Bind message is one of these. */
  hold(holds: (bind: Buffer) => boolean): void
  /** Resolves once one is held. */
  readonly held: Promise<void>
  /** Passes on what was held, and holds nothing any more. */
  release(): void
  close(): void
}

const BIND = 'B'.charCodeAt(0)
const EXECUTE = 'E'.charCodeAt(0)

export async function startHoldingRelay(targetPort: number): Promise<HoldingRelay> {
  const sockets = new Set<Socket>()
  const waiting = new Map<Socket, Buffer[]>()
  const held = Promise.withResolvers<void>()
  let holds: (bind: Buffer) => boolean = () => false

  /** Once an Execute is held, all that follows it on its connection is. */
  function passer(upstream: Socket): (message: Buffer) => void {
    let bound = false
    return (message) => {
      if (message[0] === BIND) bound = holds(message)
      const kept = waiting.get(upstream)
      if (kept !== undefined) kept.push(message)
      else if (bound && message[0] === EXECUTE) {
        waiting.set(upstream, [message])
        held.resolve()
      } else upstream.write(message)
    }
  }

  const server = createServer((client) => {
    const upstream = connect(targetPort, '127.0.0.1')
    for (const socket of [client, upstream]) {
      sockets.add(socket)
      socket.setNoDelay(true)
      socket.on('error', () => {})
      socket.once('close', () => sockets.delete(socket))
    }
    const messages = createMessageReader()
    const pass = passer(upstream)
    client.on('data', (piece: Buffer) => messages(piece).forEach(pass))
    upstream.pipe(client)
    client.once('close', () => upstream.destroy())
    upstream.once('close', () => client.destroy())
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    port: (server.address() as AddressInfo).port,
    held: held.promise,
    hold(some) {
      holds = some
    },
    release() {
      holds = () => false
      for (const [upstream, messages] of waiting)
        if (upstream.writable) upstream.write(Buffer.concat(messages))
      waiting.clear()
    },
    close() {
      server.close()
      for (const socket of sockets) socket.destroy()
    },
  }
}
