import { type AddressInfo, connect, createServer, type Socket } from 'node:net'

/** A way between two machines, as one port, that can lose everything. */
export interface Link {
  readonly port: number
  /** Present connections and new ones stay open, and pass nothing. */
  cut(): void
  /** Ends what was open meanwhile, and passes new connections on. */
  mend(): void
  close(): void
}

export async function openLink(targetPort: () => number): Promise<Link> {
  const sockets = new Set<Socket>()
  let isCut = false

  function keep(socket: Socket): void {
    sockets.add(socket)
    socket.setNoDelay(true)
    socket.on('error', () => {})
    socket.once('close', () => sockets.delete(socket))
  }

  function pass(from: Socket, to: Socket): void {
    from.on('data', (piece) => {
      if (!isCut && to.writable) to.write(piece)
    })
    from.once('close', () => {
      if (!isCut) to.destroy()
    })
  }

  const server = createServer((client) => {
    keep(client)
    if (isCut) return
    const target = connect(targetPort(), '127.0.0.1')
    keep(target)
    pass(client, target)
    pass(target, client)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const endAll = () => {
    for (const socket of sockets) socket.destroy()
  }
  return {
    port: (server.address() as AddressInfo).port,
    cut() {
      isCut = true
    },
    mend() {
      endAll()
      isCut = false
    },
    close() {
      server.close()
      endAll()
    },
  }
}
