import type { Socket } from 'node:net'
import type { Http1Request } from './http1-request.ts'
import { Http1Response } from './http1-response.ts'

/** The response that has the connection now, as Node keeps it, or null. */
export function responseUnderWay(socket: Socket): Http1Response | null {
  return (socket as { _httpMessage?: Http1Response | null })._httpMessage ?? null
}

/**
 * True where a response has told its client that the connection ends: what follows is not done (RFC 9112, section 9.6).
 */
export function endsConnection(response: Http1Response | null): boolean {
  return response?.headersSent === true && !response.shouldKeepAlive
}

/**
 * Lets a response that waits behind another one close with its connection: Node closes only the first in line. A client
 * that pipelines for long must not leave a listener for each request.
 */
export function closeWithConnection(socket: Socket, response: Http1Response): void {
  const onGone = () => {
    if (!response.writableFinished) response.emit('close')
  }
  socket.once('close', onGone)
  response.once('close', () => socket.off('close', onGone))
}

/** Ends a connection that Node has handed over while an earlier response had it: Node closes that response no more. */
export function breakConnection(socket: Socket, earlier: Http1Response): void {
  socket.on('error', () => {})
  socket.once('close', () => earlier.writableFinished || earlier.emit('close'))
  earlier.destroy()
  socket.destroy()
}

/** A response on a connection that Node has handed over; the connection ends with it. */
export function respondOn(request: Http1Request): Http1Response {
  // Not what the event hands over: where the handshake has a body, that is a stream which is no socket.
  const { socket } = request
  const response = new Http1Response(request)
  response.shouldKeepAlive = false
  response.assignSocket(socket)
  socket.on('error', () => socket.destroy())
  socket.once('close', () => {
    if (!response.writableFinished) response.emit('close')
  })
  response.once('finish', () => socket.destroySoon())
  return response
}
