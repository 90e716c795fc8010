import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { createMessageReader } from './postgres-messages.ts'

/** Stands between a client and PostgreSQL, and breaks the connection at a given message. */
export interface CuttingRelay {
  readonly port: number
  /**
   * The next connection passes so many messages of its client's, and is then cut: the server gets them all, the
   * client hears no more. Further connections are closed at once.
   */
  cutAfter(messages: number): void
  /** True once a connection was cut since `cutAfter`. */
  readonly cut: boolean
  close(): void
}

export async function startCuttingRelay(targetPort: number): Promise<CuttingRelay> {
  let left = Number.POSITIVE_INFINITY
  let cut = false
  const sockets = new Set<Socket>()
  const server = createServer((client) => {
    if (cut) {
      client.destroy()
      return
    }
    const upstream = connect(targetPort, '127.0.0.1')
    const messages = createMessageReader()
    for (const socket of [client, upstream]) {
      sockets.add(socket)
      socket.on('error', () => {})
      socket.once('close', () => sockets.delete(socket))
    }
    upstream.on('data', (piece) => client.writable && client.write(piece))
    upstream.once('close', () => client.destroy())
    client.once('close', () => upstream.end())
    client.on('data', (piece: Buffer) => {
      for (const message of messages(piece)) {
        if (left <= 0) break
        upstream.write(message)
        left--
      }
      if (left > 0) return
      cut = true
      upstream.end()
      client.destroy()
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    port: (server.address() as AddressInfo).port,
    cutAfter(count) {
      left = count
      cut = false
    },
    get cut() {
      return cut
    },
    close() {
      server.close()
      for (const socket of sockets) socket.destroy()
    },
  }
}
