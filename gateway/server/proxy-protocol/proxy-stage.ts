import type { Server } from 'node:http'
import type { Socket } from 'node:net'
import type { Scheduler } from '../../core/scheduler.ts'
import type { PeerTrust } from '../../http/forwarded.ts'
import { type ProxyHeader, readProxyHeader } from './proxy-header.ts'

export interface ProxyProtocolOptions {
  readonly peers: Pick<PeerTrust, 'isTrusted' | 'assignClient'>
  /** Until then the header has to be whole. */
  readonly timeoutMs: number
  readonly scheduler: Scheduler
  /** Told of a connection that was closed for want of a good header. */
  readonly onRefused: (peer: string, reason: string) => void
}

/**
 * Takes the PROXY protocol's header off each connection that comes from a trusted peer, before anything else is read
 * of it. Without one such a connection is closed: who is trusted to speak for others must say for whom. Others are
 * served as what they are; a header of theirs is no request, and refused as such.
 */
export function expectProxyHeader(server: Server, options: ProxyProtocolOptions): void {
  const serve = server.listeners('connection') as ((socket: Socket) => void)[]
  const { closeIdleConnections, closeAllConnections } = server
  const waiting = new Set<Socket>()

  server.removeAllListeners('connection')
  server.on('connection', (socket: Socket) => {
    if (options.peers.isTrusted(socket)) takeHeader(socket)
    else pass(socket)
  })
  server.closeIdleConnections = () => {
    closeIdleConnections.call(server)
    for (const socket of waiting) socket.destroy()
  }
  server.closeAllConnections = () => {
    closeAllConnections.call(server)
    for (const socket of waiting) socket.destroy()
  }

  function pass(socket: Socket): void {
    for (const each of serve) each.call(server, socket)
  }

  function takeHeader(socket: Socket): void {
    let bytes: Buffer = Buffer.alloc(0)
    const cancel = options.scheduler.after(options.timeoutMs, () => refuse('none came in time'))
    waiting.add(socket)
    socket.on('data', onData)
    socket.on('error', onError)
    socket.once('end', onEnd)
    socket.once('close', settle)

    function onData(chunk: Buffer): void {
      bytes = bytes.length === 0 ? chunk : Buffer.concat([bytes, chunk])
      const header = readProxyHeader(bytes)
      if (header.kind === 'bad') refuse(header.reason)
      else if (header.kind === 'whole') handOver(header)
    }

    function handOver({ length, address }: Extract<ProxyHeader, { kind: 'whole' }>): void {
      settle()
      socket.pause()
      if (bytes.length > length) socket.unshift(bytes.subarray(length))
      if (address !== null) options.peers.assignClient(socket, address)
      pass(socket)
      // TLS reads on by itself, beneath this stream.
      if (!('ALPNProtocols' in server)) socket.resume()
    }

    function refuse(reason: string): void {
      const peer = socket.remoteAddress ?? ''
      settle()
      socket.destroy()
      options.onRefused(peer, reason)
    }

    function onEnd(): void {
      socket.destroy()
    }

    function settle(): void {
      cancel()
      waiting.delete(socket)
      socket.off('data', onData)
      socket.off('error', onError)
      socket.off('end', onEnd)
      socket.off('close', settle)
    }
  }

  function onError(this: Socket): void {
    this.destroy()
  }
}
