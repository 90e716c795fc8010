import type { Socket } from 'node:net'

/** What reads a socket. */
export interface SocketUser {
  onRead(chunk: Buffer): void
  /** The client sends nothing more. */
  onReadEnd(): void
  onClosed(): void
}

const USER = Symbol('what reads this socket')

interface UsedSocket extends Socket {
  [USER]: SocketUser
}

/**
 * Has `user` told of what a socket does. The listeners are the same for all sockets: as closures they would be a
 * third of what an idle connection costs beside its socket.
 */
export function useSocket(socket: Socket, user: SocketUser): void {
  ;(socket as UsedSocket)[USER] = user
  // What an error means, the `close` behind it says.
  socket.on('error', ignore)
  socket.on('close', onClose)
  socket.on('end', onEnd)
  socket.on('data', onData)
}

/**
 * Reads no more, and leaves the socket as a new one is: neither flowing nor paused, what comes next kept in it. Its
 * end is still told.
 */
export function releaseSocket(socket: Socket): void {
  socket.off('data', onData)
  socket.off('end', onEnd)
  ;(socket as { readableFlowing: boolean | null }).readableFlowing = null
}

function ignore(): void {}

function onData(this: Socket, chunk: Buffer): void {
  ;(this as UsedSocket)[USER].onRead(chunk)
}

function onEnd(this: Socket): void {
  ;(this as UsedSocket)[USER].onReadEnd()
}

function onClose(this: Socket): void {
  ;(this as UsedSocket)[USER].onClosed()
}
