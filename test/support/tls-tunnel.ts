import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { connect } from 'node:tls'

export interface TlsTunnel {
  readonly port: number
  close(): void
}

/** A port that speaks plain TCP, and hands all of it on over TLS: what is tried by hand can be tried over both. */
export async function startTlsTunnel(to: number): Promise<TlsTunnel> {
  const open = new Set<Socket>()
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (plain) => {
    const secure = connect({
      port: to,
      host: '127.0.0.1',
      rejectUnauthorized: false,
      ALPNProtocols: ['http/1.1'],
    })
    secure.setNoDelay(true)
    open.add(plain)
    plain.pipe(secure)
    secure.pipe(plain)
    plain.on('error', () => secure.destroy())
    secure.on('error', () => plain.destroy())
    plain.on('close', () => {
      open.delete(plain)
      secure.destroy()
    })
    secure.on('close', () => plain.destroySoon())
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    close() {
      server.close()
      for (const socket of open) socket.destroy()
    },
  }
}
