import type { AddressInfo, Server } from 'node:net'

/** Opens a listener. @returns its port. @throws the listener's error, such as EADDRINUSE */
export function listening(server: Server, port: number, host: string): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen({ port, host, backlog: 4096 }, () => {
      server.off('error', reject)
      resolve((server.address() as AddressInfo).port)
    })
  })
}
