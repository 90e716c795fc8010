import { isIPv6 } from 'node:net'

export type ParsedHost =
  | {
      readonly kind: 'ok'
      /** Lower case, without port and trailing dot; an IPv6 address keeps its brackets. */
      readonly hostname: string
      /** Digits as they were sent; empty where there are none. */
      readonly port: string
    }
  | { readonly kind: 'bad' }

const BAD: ParsedHost = { kind: 'bad' }

const HOST = /^(?:(\[[\da-f:.]+\])|([\w-]+(?:\.[\w-]+)*)\.?)(?::(\d{0,5}))?$/i

/** RFC 1035, section 2.3.4. */
const MAX_HOSTNAME = 255

/**
 * Reads a `Host` field (RFC 9110, section 7.2). Percent-encoding and sub-delimiters, which RFC 3986 allows in a
 * `reg-name`, are refused: no name needs them, and backends read them in different ways. Underscores are accepted
 * because names inside clusters contain them.
 */
export function parseHost(value: string): ParsedHost {
  const match = HOST.exec(value)
  if (match === null) return BAD
  const hostname = (match[1] ?? match[2]!).toLowerCase()
  const port = match[3] ?? ''
  if (hostname.length > MAX_HOSTNAME || Number(port) > 65535) return BAD
  if (match[1] !== undefined && !isIPv6(hostname.slice(1, -1))) return BAD
  return { kind: 'ok', hostname, port }
}

/** True where both authorities name the same host and port. A port that is left out is the scheme's default. */
export function sameAuthority(a: string, b: string, scheme: 'http' | 'https'): boolean {
  const first = parseHost(a)
  const second = parseHost(b)
  if (first.kind === 'bad' || second.kind === 'bad') return false
  return first.hostname === second.hostname && portOf(first.port, scheme) === portOf(second.port, scheme)
}

function portOf(port: string, scheme: 'http' | 'https'): number {
  if (port !== '') return Number(port)
  return scheme === 'http' ? 80 : 443
}
