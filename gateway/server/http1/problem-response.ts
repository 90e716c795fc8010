import { STATUS_CODES } from 'node:http'
import { type ErrorCode, problemBody, statusOf } from '../../core/errors.ts'

/**
 * A whole response for a connection on which no request was read.
 *
 * @param more further header lines, each with its CRLF
 */
export function problemResponse(code: ErrorCode, requestId: string, more = ''): string {
  const body = problemBody(code, requestId)
  const status = statusOf(code)
  return (
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\nContent-Type: application/problem+json\r\n` +
    `Content-Length: ${Buffer.byteLength(body)}\r\nCache-Control: no-store\r\nX-Request-Id: ${requestId}\r\n` +
    `${more}Connection: close\r\n\r\n${body}`
  )
}
