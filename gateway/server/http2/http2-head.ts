import { METHODS as KNOWN_METHODS } from 'node:http'
import type { IncomingHttpHeaders as Http2Fields } from 'node:http2'
import type { ErrorCode } from '../../core/errors.ts'
import type { NamedFields } from '../../http/request-head.ts'

/** The head of a request as it came, and what is wrong with it in HTTP/2's own terms. */
export interface Http2Head {
  readonly method: string
  readonly target: string
  /** Flat name, value pairs as HTTP/1.1 would have them: `Host` for `:authority`, one `Cookie` for all crumbs. */
  readonly rawHeaders: readonly string[]
  readonly headers: NamedFields
  readonly refusal: ErrorCode | null
}

const METHODS: ReadonlySet<string> = new Set(KNOWN_METHODS)

/** RFC 9113, section 6.5.2. */
const FIELD_OVERHEAD = 32

/**
 * Reads the fields of a request (RFC 9113, section 8.3.1).
 *
 * @param fields as `node:http2` gives them
 * @param raw flat name, value pairs, pseudo-header fields included
 * @param maxBytes size of all fields (RFC 9113, section 6.5.2) past which they are refused
 */
export function readHttp2Head(fields: Http2Fields, raw: readonly string[], maxBytes: number): Http2Head {
  const authority = fields[':authority']
  const method = fields[':method'] ?? ''
  const target = fields[':path'] ?? '/'
  const hosts: string[] = []
  const cookies: string[] = []
  const rest: string[] = []
  let bytes = 0
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i]!
    bytes += name.length + raw[i + 1]!.length + FIELD_OVERHEAD
    if (name.startsWith(':')) continue
    if (name === 'host') hosts.push(raw[i + 1]!)
    else if (name === 'cookie') cookies.push(raw[i + 1]!)
    else rest.push(name, raw[i + 1]!)
  }
  const host = authority ?? hosts[0]
  const rawHeaders = host === undefined ? rest : ['host', host, ...rest]
  // RFC 9113, section 8.2.3: crumbs are joined before they leave HTTP/2.
  if (cookies.length > 0) rawHeaders.push('cookie', cookies.join('; '))
  if (host !== undefined) fields.host = host
  return {
    method,
    target,
    rawHeaders,
    headers: fields,
    refusal: bytes > maxBytes ? 'headers_too_large' : problemOf(fields, hosts),
  }
}

/** What a backend behind HTTP/1.1 could be made to read in another way than the gateway did. */
function problemOf(fields: Http2Fields, hosts: readonly string[]): ErrorCode | null {
  const method = fields[':method']
  if (method === 'CONNECT') return null
  // Of HTTP/1.1 Node's parser knows these alone; others (`get`) some backends read as what they resemble.
  if (method === undefined || !METHODS.has(method)) return 'bad_request'
  const authority = fields[':authority']
  if (hosts.length > 1) return 'bad_request'
  if (authority !== undefined && hosts.some((host) => host.toLowerCase() !== authority.toLowerCase()))
    return 'bad_request'
  if (fields[':scheme'] !== 'https') return 'bad_request'
  return fields[':path']?.startsWith('/') === true ? null : 'bad_request'
}
