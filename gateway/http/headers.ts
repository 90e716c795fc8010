import { type CookieNames, withoutCookies } from './cookies.ts'
import { answerFateOf, type FieldPolicy, isHopByHop, nominatedFields } from './field-classes.ts'

/** A header field change of the routing file: fields to set (replacing the client's) and to remove. */
export interface HeaderEdits {
  /** Flat name, value pairs in the file's order and spelling. */
  readonly set: readonly string[]
  /** Lower-case names that do not pass: the removed ones and those that `set` replaces. */
  readonly dropped: ReadonlySet<string>
  /** Flat name, value pairs that precede all others. */
  readonly first?: readonly string[]
}

/** How request fields are rewritten on one route; compiled once per routing file. */
export interface RequestHeaderRules {
  readonly fields: FieldPolicy
  readonly edits: HeaderEdits | null
  /** The cookies to take out of `Cookie`, or null where all are forwarded. */
  readonly hiddenCookies: CookieNames | null
}

/** What the connection says about the client; compiled once per connection. */
export interface Peer {
  /** Address of the connection's other end. */
  readonly address: string
  /** True where `X-Forwarded-*` and `X-Request-Id` of this peer are believed. */
  readonly trusted: boolean
  readonly scheme: 'http' | 'https'
}

/** What goes upstream in place of the client's `traceparent`; null where that passes. */
export interface UpstreamTrace {
  readonly traceparent: string
  /** A trace that was begun here has no use for the client's `tracestate` (W3C Trace Context, section 3.3). */
  readonly begun: boolean
}

/** The request as it came in, as far as its header fields depend on it. */
export interface InboundHead {
  readonly rawHeaders: readonly string[]
  /** `Host` as the client sent it. */
  readonly host: string
  /** `Host` as the upstream gets it. */
  readonly upstreamHost: string
  readonly peer: Peer
  readonly requestId: string
  /** The gateway's identity fields, flat name, value pairs; empty where the request is anonymous. */
  readonly identity: readonly string[]
  readonly trace: UpstreamTrace | null
}

interface Forwarding {
  for: string | null
  proto: string | null
  host: string | null
}

/**
 * The fields that go upstream: first everything is stripped that could be taken for the gateway's, then the
 * gateway's own are added. Everything else passes in order, with its spelling, duplicates included.
 *
 * Framing (`Transfer-Encoding`) is the hop's business; `Content-Length` passes.
 *
 * @returns flat name, value pairs, `Host` first
 */
export function upstreamHeaders(head: InboundHead, rules: RequestHeaderRules): string[] {
  const { rawHeaders, peer, trace } = head
  const nominated = nominatedFields(rawHeaders)
  const out: string[] = ['Host', head.upstreamHost]
  const forwarding: Forwarding = { for: null, proto: null, host: null }

  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i]!
    const fate = rules.fields.fateOf(name)
    if (
      fate === 'pass' ||
      (fate === 'traceparent' && trace === null) ||
      (fate === 'tracestate' && !trace?.begun)
    ) {
      if (nominated?.has(name.toLowerCase())) continue
      out.push(name, rawHeaders[i + 1]!)
    } else if (fate === 'cookie') {
      // Never nominated away: a client could otherwise choose what the backend sees of its session.
      pushCookie(out, name, rawHeaders[i + 1]!, rules.hiddenCookies)
    } else if (fate === 'content-length') {
      out.push(name, rawHeaders[i + 1]!)
    } else if (fate === 'forwarding' && peer.trusted && !nominated?.has(name.toLowerCase())) {
      collectForwarding(out, forwarding, name, rawHeaders[i + 1]!)
    }
  }
  pushForwarding(out, forwarding, head)
  if (trace !== null) out.push('traceparent', trace.traceparent)
  const fields = rules.edits === null ? out : edited(out, rules.edits)
  for (const item of head.identity) fields.push(item)
  return fields
}

function edited(fields: readonly string[], edits: HeaderEdits): string[] {
  const out: string[] = edits.first === undefined ? [] : [...edits.first]
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i]!
    if (!edits.dropped.has(name.toLowerCase())) out.push(name, fields[i + 1]!)
  }
  out.push(...edits.set)
  return out
}

function pushCookie(out: string[], name: string, value: string, hidden: CookieNames | null): void {
  const left = hidden === null ? value : withoutCookies(value, hidden)
  if (left !== null) out.push(name, left)
}

function collectForwarding(out: string[], forwarding: Forwarding, name: string, value: string): void {
  switch (name.toLowerCase()) {
    case 'x-forwarded-for':
      forwarding.for = forwarding.for === null ? value : `${forwarding.for}, ${value}`
      return
    case 'x-forwarded-proto':
      forwarding.proto ??= value
      return
    case 'x-forwarded-host':
      forwarding.host ??= value
      return
    case 'x-request-id':
      return
    default:
      out.push(name, value)
  }
}

function pushForwarding(out: string[], forwarding: Forwarding, head: InboundHead): void {
  const { peer } = head
  out.push(
    'X-Forwarded-For',
    forwarding.for === null ? peer.address : `${forwarding.for}, ${peer.address}`,
    'X-Forwarded-Proto',
    forwarding.proto ?? peer.scheme,
    'X-Forwarded-Host',
    forwarding.host ?? head.host,
    'X-Request-Id',
    head.requestId,
  )
}

/** What of an upstream's answer head reaches the client. */
export interface ClientHead {
  /** Flat name, value pairs. */
  readonly fields: string[]
  /** False where the answer's end is the connection's end (RFC 9112, section 6.3, rule 8). */
  readonly delimited: boolean
  /** `Content-Length`, or -1 where there is none. */
  readonly length: number
  /** True for server-sent events. */
  readonly eventStream: boolean
}

/**
 * The fields of an upstream's answer for the client: hop-by-hop fields and those that `Connection` nominates
 * go, the request id and the route's own edits come. Duplicates (`Set-Cookie`) stay apart and in order.
 *
 * @param raw flat name, value pairs as they arrived
 * @param chunkable true where an answer without a length goes to this client in chunks: only then can
 *   trailers follow and `Trailer` announce them
 */
export function clientHeaders(
  raw: readonly string[],
  requestId: string,
  edits: HeaderEdits | null,
  chunkable: boolean,
): ClientHead {
  const nominated = nominatedFields(raw)
  const fields: string[] = []
  let trailer: string | null = null
  let length = -1
  let delimited = false
  let eventStream = false
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i]!
    const value = raw[i + 1]!
    const fate = answerFateOf(name)
    if (fate === 'content-length') {
      length = Number(value)
      delimited = true
    } else if (fate === 'content-type') eventStream = value.startsWith('text/event-stream')
    else if (fate === 'transfer-encoding') delimited = true
    else if (fate === 'trailer') trailer = value
    if (fate === 'drop' || fate === 'transfer-encoding' || fate === 'trailer') continue
    if (nominated?.has(name.toLowerCase())) continue
    fields.push(name, value)
  }
  if (trailer !== null && chunkable && length === -1) fields.push('Trailer', trailer)
  fields.push('X-Request-Id', requestId)
  return { fields: edits === null ? fields : edited(fields, edits), delimited, length, eventStream }
}

/** The trailers of an answer that may reach the client: never framing, never hop-by-hop (RFC 9110, section 6.5.1). */
export function clientTrailers(raw: readonly string[]): [string, string][] {
  const out: [string, string][] = []
  for (let i = 0; i < raw.length; i += 2) {
    const lower = raw[i]!.toLowerCase()
    if (!isHopByHop(lower) && lower !== 'content-length') out.push([raw[i]!, raw[i + 1]!])
  }
  return out
}
