import type { Socket } from 'node:net'
import type { Scheduler } from '../../core/scheduler.ts'
import type { PeerTrust } from '../../http/forwarded.ts'
import type { ConnectionRegistry } from '../connection-registry.ts'
import type { ConnectionHandler, ConnectionStage } from '../connection-stages.ts'
import { type ProxyHeader, readProxyHeader } from './proxy-header.ts'

export interface ProxyProtocolOptions {
  readonly peers: Pick<PeerTrust, 'isTrusted' | 'assignClient' | 'adoptClient'>
  /** Until then the header has to be whole. */
  readonly timeoutMs: number
  readonly scheduler: Scheduler
  readonly registry: ConnectionRegistry
  /** True where TLS follows, which reads on by itself. */
  readonly beforeTls: boolean
  /** Called for a connection that was closed for want of a good header. */
  readonly onRefused: (peer: string, reason: string) => void
}

/**
 * Takes the PROXY protocol's header off each connection that comes from a trusted peer, before anything else is read
 * of it. Such a connection without a header is closed: its client would be unknown. Connections of other peers are
 * served without one; a header of theirs is not a request, and is refused as such.
 */
export function readProxyHeaders(options: ProxyProtocolOptions): ConnectionStage {
  return (next) => (socket) => {
    if (options.peers.isTrusted(socket)) takeHeader(socket, next, options)
    else next(socket)
  }
}

function takeHeader(socket: Socket, next: ConnectionHandler, options: ProxyProtocolOptions): void {
  let bytes: Buffer = Buffer.alloc(0)
  const cancel = options.scheduler.after(options.timeoutMs, () => refuse('none came in time'))
  const destroy = () => void socket.destroy()
  const deregister = options.registry.register({ closeIdle: destroy, close: destroy })
  socket.on('data', onData)
  socket.on('error', destroy)
  socket.once('end', destroy)
  socket.once('close', stopWaiting)

  function onData(chunk: Buffer): void {
    bytes = bytes.length === 0 ? chunk : Buffer.concat([bytes, chunk])
    const header = readProxyHeader(bytes)
    if (header.kind === 'bad') refuse(header.reason)
    else if (header.kind === 'whole') handOver(header)
  }

  function handOver({ length, client }: Extract<ProxyHeader, { kind: 'whole' }>): void {
    stopWaiting()
    socket.pause()
    if (bytes.length > length) socket.unshift(bytes.subarray(length))
    options.peers.assignClient(socket, client)
    next(socket)
    if (!options.beforeTls) socket.resume()
  }

  function refuse(reason: string): void {
    const peer = socket.remoteAddress ?? ''
    stopWaiting()
    socket.destroy()
    options.onRefused(peer, reason)
  }

  function stopWaiting(): void {
    cancel()
    deregister()
    socket.off('data', onData)
    socket.off('error', destroy)
    socket.off('end', destroy)
    socket.off('close', stopWaiting)
  }
}
