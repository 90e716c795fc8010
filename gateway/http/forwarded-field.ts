import { isIP } from 'node:net'
import { parseHost } from './host.ts'

/** True for the address of a trusted proxy. */
export type IsProxy = (address: string) => boolean

/** What the proxies in front say of a client in `Forwarded` (RFC 7239). */
export interface ForwardedClient {
  /** All hops in order, as `X-Forwarded-For` names them. */
  readonly chain: string
  /** The client's address; null where it is not told. */
  readonly address: string | null
  /** The scheme that the client used; null where it is not told. */
  readonly scheme: 'http' | 'https' | null
  /** `Host` as the client sent it; null where it is not told. */
  readonly host: string | null
}

/** What one proxy has seen of the connection to it (RFC 7239, section 4), its names in lower case. */
type Element = ReadonlyMap<string, string>

/**
 * Reads `Forwarded`. What counts is written by trusted proxies: the last element by the peer, and each one before it as
 * long as the element behind it is of a connection from a trusted proxy.
 *
 * @returns null where it tells nothing
 */
export function readForwarded(field: string, isProxy: IsProxy): ForwardedClient | null {
  const elements = parseForwarded(field)
  if (elements.length === 0) return null
  const hops = elements.map((element) => addressOfHop(element.get('for') ?? ''))
  const told = elements.slice(firstTrusted(hops, isProxy))
  return {
    chain: hops.map((hop) => hop ?? 'unknown').join(', '),
    address: clientOf(hops, isProxy),
    scheme: told.map((element) => schemeOf(element.get('proto'))).find((scheme) => scheme !== null) ?? null,
    host: told.map((element) => element.get('host')).find(isHost) ?? null,
  }
}

/**
 * The last hop that is not a trusted proxy's, or the first one where all are. What is before a hop without an address
 * was told by nobody known.
 *
 * @param hops their addresses in order; null for one without an address
 */
export function clientOf(hops: readonly (string | null)[], isProxy: IsProxy): string | null {
  const first = firstTrusted(hops, isProxy)
  return hops[first] ?? hops[first + 1] ?? null
}

/** The first hop that a trusted proxy has told of. */
function firstTrusted(hops: readonly (string | null)[], isProxy: IsProxy): number {
  const last = hops.findLastIndex((hop) => hop === null || !isProxy(hop))
  return Math.max(last, 0)
}

const WITH_PORT = /^(?:\[([\da-f:.]+)\]|([\d.]+))(?::[\w.-]*)?$/i

/**
 * The address in a hop of `X-Forwarded-For` or in a node of `Forwarded` (RFC 7239, section 6), with or without brackets
 * and port, which load balancers add.
 *
 * @returns null where there is none (`unknown`, `_hidden`, a name)
 */
export function addressOfHop(hop: string): string | null {
  const match = WITH_PORT.exec(hop)
  const address = plainAddress(match?.[1] ?? match?.[2] ?? hop)
  // A zone (`fe80::1%eth0`) would name an interface of the proxy, which means nothing here.
  return isIP(address) === 0 || address.includes('%') ? null : address
}

/** A dual-stack listener reports the addresses of IPv4 clients as `::ffff:a.b.c.d`. */
export function plainAddress(address: string): string {
  return address.startsWith('::ffff:') && address.includes('.') ? address.slice('::ffff:'.length) : address
}

/** The scheme of HTTP that a proxy means, since some name that of a WebSocket; null where it means none. */
export function schemeOf(text: string | undefined): 'http' | 'https' | null {
  switch (text?.toLowerCase()) {
    case 'https':
    case 'wss':
      return 'https'
    case 'http':
    case 'ws':
      return 'http'
    default:
      return null
  }
}

function isHost(text: string | undefined): text is string {
  return text !== undefined && parseHost(text).kind === 'ok'
}

/**
 * A pair and what is behind it. Addresses with a colon have to be quoted; some proxies do not do so, and they are read all
 * the same.
 */
const PAIR = /^[ \t]*([!#$%&'*+.^_`|~\w-]+)=(?:"([^"\\]*(?:\\.[^"\\]*)*)"|([^\s",;=]+))[ \t]*(?:([;,])|$)/
const NO_PAIR = /^[ \t]*(?:([;,])|$)/

/**
 * A client may have begun the field with anything, and each proxy appends to what it got. So what is malformed is left
 * out with all that is before it, and what is behind it counts.
 */
function parseForwarded(field: string): Element[] {
  let elements: Element[] = []
  for (let rest = field; rest !== ''; ) {
    const read = readElement(rest)
    if (read === null) {
      elements = []
      // A quote that is not closed must not take in the elements behind it.
      rest = rest.includes(',') ? rest.slice(rest.indexOf(',') + 1) : ''
    } else {
      // Lists may have empty elements (RFC 9110, section 5.6.1).
      if (read.element.size > 0) elements.push(read.element)
      rest = read.rest
    }
  }
  return elements
}

function readElement(text: string): { readonly element: Element; readonly rest: string } | null {
  const element = new Map<string, string>()
  for (let rest = text; ; ) {
    const pair = PAIR.exec(rest)
    const match = pair ?? NO_PAIR.exec(rest)
    if (match === null) return null
    rest = rest.slice(match[0].length)
    if (pair !== null) {
      const name = pair[1]!.toLowerCase()
      // RFC 7239, section 4: at most once in an element.
      if (element.has(name)) return null
      element.set(name, pair[2]?.replace(/\\(.)/g, '$1') ?? pair[3]!)
    }
    if (match.at(-1) !== ';') return { element, rest }
  }
}
