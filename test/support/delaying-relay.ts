import { type AddressInfo, connect, createServer, type Socket } from 'node:net'

export interface DelayingRelay {
  readonly port: number
  close(): void
}

/**
 * Puts a server farther away: every piece is held back for so long in each direction, in order. What the server
 * decides is old by the time that its answer arrives, as over a real network.
 */
export async function startDelayingRelay(targetPort: number, delayMs: number): Promise<DelayingRelay> {
  const sockets = new Set<Socket>()
  const pass = (from: Socket, to: Socket) => {
    sockets.add(from)
    from.setNoDelay(true)
    from.on('data', (piece) => setTimeout(() => to.writable && to.write(piece), delayMs))
    from.on('end', () => setTimeout(() => to.end(), delayMs))
    from.on('error', () => to.destroy())
    from.on('close', () => sockets.delete(from))
  }
  const server = createServer((client) => {
    const upstream = connect(targetPort, '127.0.0.1')
    pass(client, upstream)
    pass(upstream, client)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    port: (server.address() as AddressInfo).port,
    close() {
      server.close()
      for (const socket of sockets) socket.destroy()
    },
  }
}
