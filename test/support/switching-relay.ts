import { type AddressInfo, connect, createServer, type Socket } from 'node:net'

/**
 * One address for several servers, as a virtual address or a provider's name for the primary is. Once it is switched,
 * new connections lead to the new server; old ones stay with theirs, whatever has become of it.
 */
export interface SwitchingRelay {
  readonly port: number
  switchTo(targetPort: number): void
  close(): void
}

export async function startSwitchingRelay(firstPort: number): Promise<SwitchingRelay> {
  let target = firstPort
  const sockets = new Set<Socket>()
  const server = createServer((client) => {
    const upstream = connect(target, '127.0.0.1')
    for (const socket of [client, upstream]) {
      sockets.add(socket)
      socket.setNoDelay(true)
      socket.on('error', () => {})
      socket.once('close', () => sockets.delete(socket))
    }
    client.pipe(upstream)
    upstream.pipe(client)
    client.once('close', () => upstream.destroy())
    upstream.once('close', () => client.destroy())
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    port: (server.address() as AddressInfo).port,
    switchTo(targetPort) {
      target = targetPort
    },
    close() {
      server.close()
      for (const socket of sockets) socket.destroy()
    },
  }
}
