import type { Socket } from 'node:net'
import type { ErrorCode } from '../../core/errors.ts'
import type { Gateway } from '../../pipeline/gateway.ts'
import { problemResponse } from './problem-response.ts'
import { responseUnderWay } from './response-under-way.ts'

export interface UnparsedParts {
  readonly gateway: Pick<Gateway, 'recordUnparsed'>
  readonly requestId: () => string
  /** `Strict-Transport-Security` over TLS; null where it is not set. */
  readonly hsts: string | null
}

/** Answers what is no request; the connection cannot be used any more (RFC 9112, section 2.2). */
export function answerUnparsed(error: NodeJS.ErrnoException, socket: Socket, parts: UnparsedParts): void {
  const current = responseUnderWay(socket)
  // What a client sends behind its own `Connection: close` is not read; the response goes on (RFC 9112, section 9.6).
  if (error.code === 'HPE_CLOSED_CONNECTION' && current !== null) return
  // A refusal is written before the parser stumbles over what follows it; it goes out, and nothing more.
  if (current !== null && (current.writableEnded || current.endLingering())) {
    socket.destroySoon()
    return
  }
  // A response under way must not get another one written into it.
  if (error.code === 'ECONNRESET' || !socket.writable || current?.headersSent) {
    socket.destroy()
    return
  }
  const code = codeOfUnparsed(error)
  // What follows cannot be read, or is late already: nobody would time it any more.
  current?.endConnection()
  if (current?.refuseUnreadable(code)) {
    // Only where the client is too slow there is something to read on.
    if (code !== 'request_timeout') current.endLingering()
    return
  }
  const { hsts } = parts
  const more = hsts !== null && 'encrypted' in socket ? ['Strict-Transport-Security', hsts] : []
  const requestId = parts.requestId()
  // Where a request was read, its exchange ends with the connection and is recorded by itself.
  if (current === null) parts.gateway.recordUnparsed({ socket, requestId, code })
  socket.end(problemResponse(code, requestId, more), () => socket.destroy())
}

function codeOfUnparsed(error: NodeJS.ErrnoException): ErrorCode {
  if (error.code === 'HPE_HEADER_OVERFLOW') return 'headers_too_large'
  return error.code === 'ERR_HTTP_REQUEST_TIMEOUT' ? 'request_timeout' : 'bad_request'
}
