import type { RequestHead } from './request-head.ts'

type Framed = Pick<RequestHead, 'headers'>

/**
 * True where a body follows the head of a request of HTTP/1.1 (RFC 9112, section 6.3): only these two fields announce
 * one.
 */
export function announcesBody({ headers }: Framed): boolean {
  return headers['transfer-encoding'] !== undefined || announcedLength({ headers }) > 0
}

/** @returns bytes by `Content-Length`; 0 where there is none */
export function announcedLength({ headers }: Framed): number {
  return Number(headers['content-length'] ?? 0)
}

/**
 * What a strict parser of HTTP/1.1 lets through and a backend might read another way.
 *
 * @returns the problem for operators, or null
 */
export function framingProblemOf({ httpVersion, headers }: RequestHead): string | null {
  if (httpVersion !== '1.1' && httpVersion !== '1.0') return 'the HTTP version is not 1.0 or 1.1'
  const encoding = headers['transfer-encoding']
  if (encoding === undefined) return null
  // RFC 9112, section 6.1: an HTTP/1.0 message with Transfer-Encoding has faulty framing.
  if (httpVersion === '1.0') return 'Transfer-Encoding in HTTP/1.0'
  if (encoding.toLowerCase() !== 'chunked') return 'a transfer coding other than chunked'
  return headers['content-length'] === undefined ? null : 'Transfer-Encoding with Content-Length'
}
