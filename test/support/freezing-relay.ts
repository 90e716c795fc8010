import { type AddressInfo, connect, createServer, type Socket } from 'node:net'

/** A network that loses all packets of some connections, as a firewall does that has forgotten them. */
export interface FreezingRelay {
  readonly port: number
  /** Connections so far. */
  readonly connections: number
  /** The present connections stay open, take everything, and pass nothing any more. */
  freeze(): void
  close(): void
}

export async function startFreezingRelay(targetPort: number): Promise<FreezingRelay> {
  const sockets = new Set<Socket>()
  let frozen = 0
  let connections = 0
  const server = createServer((client) => {
    const nth = ++connections
    const target = connect(targetPort, '127.0.0.1')
    const pass = (from: Socket, to: Socket) => {
      sockets.add(from)
      from.setNoDelay(true)
      from.on('error', () => {})
      from.on('data', (piece) => {
        if (nth > frozen && to.writable) to.write(piece)
      })
      from.once('close', () => {
        sockets.delete(from)
        if (nth > frozen) to.destroy()
      })
    }
    pass(client, target)
    pass(target, client)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    port: (server.address() as AddressInfo).port,
    get connections() {
      return connections
    },
    freeze() {
      frozen = connections
    },
    close() {
      server.close()
      for (const socket of sockets) socket.destroy()
    },
  }
}
