import { STATUS_CODES } from 'node:http'
import type { ErrorCode } from '../../core/errors.ts'
import { problemFor } from '../../exchange/problem.ts'

/**
 * A whole response for a connection on which no request was read.
 *
 * @param more further fields, flat name, value pairs
 */
export function problemResponse(code: ErrorCode, requestId: string, more: readonly string[] = []): string {
  const { status, fields, body } = problemFor(code, requestId)
  const all = [...fields, ...more, 'Connection', 'close']
  let head = `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\n`
  for (let i = 0; i < all.length; i += 2) head += `${all[i]}: ${all[i + 1]}\r\n`
  return `${head}\r\n${body}`
}
