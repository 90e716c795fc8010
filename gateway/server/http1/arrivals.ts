import type { ErrorCode } from '../../core/errors.ts'
import { isWebSocketHandshake } from '../../http/websocket.ts'
import type { WireError } from '../../http1/wire-error.ts'
import type { Arrival } from '../../pipeline/gateway.ts'
import type { Http1Request } from './http1-request.ts'
import type { Http1Response } from './http1-response.ts'

const PLAIN: Arrival = {}

/** What the listener makes of a request that was read and does not take over its connection. */
export function arrivalOf(request: Http1Request, response: Http1Response): Arrival {
  // What follows was meant for the tunnel that there will not be.
  if (request.method === 'CONNECT') response.endConnection()
  if (request.httpVersion === '1.0') return PLAIN
  if (request.hasBody && isWebSocketHandshake(request)) {
    // A body would travel through the tunnel as if it were the client's first frames.
    response.endConnection()
    return { refusal: 'bad_request' }
  }
  const expectation = request.headers.expect?.trim().toLowerCase()
  if (expectation === undefined) return PLAIN
  if (expectation !== '100-continue') return { refusal: 'expectation_failed' }
  response.awaitsContinue = !request.complete
  return PLAIN
}

/** What a client is answered whose bytes are no request. */
export function codeOf(error: WireError | null): ErrorCode {
  return error?.code === 'headers_too_large' ? 'headers_too_large' : 'bad_request'
}
