import { type CookieNames, withoutCookies } from './cookies.ts'
import {
  classifyResponseField,
  type FieldClassifier,
  fieldsNamedByConnection,
  isHopByHop,
} from './field-classes.ts'
import { type IsProxy, readForwarded } from './forwarded-field.ts'

/** Changes to header fields: which are set, replacing those of the same name, and which are removed. */
export interface HeaderEdits {
  /** Flat name, value pairs in the file's order and spelling. */
  readonly set: readonly string[]
  /** Names in lower case of the fields to leave out: those that are removed and those that `set` replaces. */
  readonly dropped: ReadonlySet<string>
  /** Flat name, value pairs that are put before all others. */
  readonly first?: readonly string[]
}

/** How request fields are rewritten on one route. Made once for each reading of the routing file. */
export interface RequestHeaderRules {
  readonly fields: FieldClassifier
  readonly edits: HeaderEdits | null
  /** The cookies to remove from `Cookie`; null where all are forwarded. */
  readonly hiddenCookies: CookieNames | null
}

/** The other end of a client connection. Made once for each connection. */
export interface Peer {
  readonly address: string
  /** True where `X-Forwarded-*`, `Forwarded` and `X-Request-Id` are accepted from this peer. */
  readonly trusted: boolean
  readonly isProxy: IsProxy
  readonly scheme: 'http' | 'https'
  /** The name that the client has asked a load balancer in front for, which ends TLS; null where it is not told. */
  readonly serverName: string | null
}

/** The trace context to send upstream in place of the client's `traceparent`. */
export interface UpstreamTrace {
  readonly traceparent: string
  /**
   * True where the gateway started the trace. The client's `tracestate` is removed then, because it belongs to another
   * trace (W3C Trace Context, section 3.3).
   */
  readonly isNew: boolean
}

/** What the header fields of the forwarded request are made from. */
export interface InboundHead {
  readonly rawHeaders: readonly string[]
  /** `Host` as the client sent it. */
  readonly host: string
  /** `Host` as the upstream gets it. */
  readonly upstreamHost: string
  readonly peer: Peer
  readonly requestId: string
  /** The gateway's identity fields as flat name, value pairs; empty where the request is anonymous. */
  readonly identity: readonly string[]
  /** Null where the client's own `traceparent` passes unchanged. */
  readonly trace: UpstreamTrace | null
}

interface Forwarding {
  for: string | null
  proto: string | null
  host: string | null
  /** `Forwarded`, which counts where there is none of the others. */
  field: string | null
  /** `Connection` has named one of these, so that they do not tell everything. */
  cut: boolean
}

/**
 * Makes the fields of the forwarded request. Everything that a backend could mistake for a field of the gateway's is
 * removed before the gateway's own fields are added. All other fields pass in order, with their spelling, duplicates
 * included.
 *
 * `Content-Length` passes. `Transfer-Encoding` does not: the connection to the target frames the body itself.
 *
 * @returns flat name, value pairs, `Host` first
 */
export function upstreamHeaders(head: InboundHead, rules: RequestHeaderRules): string[] {
  const { rawHeaders, peer, trace } = head
  const connectionFields = fieldsNamedByConnection(rawHeaders)
  const out: string[] = ['Host', head.upstreamHost]
  const forwarding: Forwarding = { for: null, proto: null, host: null, field: null, cut: false }

  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i]!
    const kind = rules.fields.classify(name)
    if (
      kind === 'pass' ||
      (kind === 'traceparent' && trace === null) ||
      (kind === 'tracestate' && !trace?.isNew)
    ) {
      if (connectionFields?.has(name.toLowerCase())) continue
      out.push(name, rawHeaders[i + 1]!)
    } else if (kind === 'cookie') {
      // `Connection` cannot remove it: a client could otherwise choose what the backend sees of its session.
      pushCookie(out, name, rawHeaders[i + 1]!, rules.hiddenCookies)
    } else if (kind === 'content-length') {
      out.push(name, rawHeaders[i + 1]!)
    } else if (kind === 'forwarding' && peer.trusted) {
      if (connectionFields?.has(name.toLowerCase())) forwarding.cut = true
      else collectForwarding(out, forwarding, name, rawHeaders[i + 1]!)
    }
  }
  pushForwarding(out, forwarding, head)
  if (trace !== null) out.push('traceparent', trace.traceparent)
  const fields = rules.edits === null ? out : applyEdits(out, rules.edits)
  // Identity comes last, so neither `Connection` nor a route's edits can remove it.
  for (const item of head.identity) fields.push(item)
  return fields
}

function applyEdits(fields: readonly string[], edits: HeaderEdits): string[] {
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
    case 'forwarded':
      forwarding.field = forwarding.field === null ? value : `${forwarding.field}, ${value}`
      out.push(name, value)
      return
    default:
      out.push(name, value)
  }
}

function pushForwarding(out: string[], forwarding: Forwarding, head: InboundHead): void {
  const { peer } = head
  if (forwarding.field !== null) takeFromField(forwarding, forwarding.field, peer)
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

/** What `Forwarded` says is told to backends by the fields that they know. */
function takeFromField(forwarding: Forwarding, field: string, { isProxy }: Peer): void {
  if (forwarding.cut || forwarding.for !== null || forwarding.proto !== null || forwarding.host !== null)
    return
  const client = readForwarded(field, isProxy)
  forwarding.for = client?.chain ?? null
  forwarding.proto = client?.scheme ?? null
  forwarding.host = client?.host ?? null
}

/** The head of an upstream's answer as the client gets it. */
export interface ClientHead {
  /** Flat name, value pairs; `answerHead` leaves the request's id out. */
  readonly fields: string[]
  /** `Content-Length`, or -1 where there is none. */
  readonly length: number
  /** True for server-sent events. */
  readonly eventStream: boolean
}

/**
 * Makes the fields of an upstream's answer for the client. Hop-by-hop fields and those that `Connection` names are
 * removed; the request id and the route's edits are added. Duplicates (`Set-Cookie`) stay separate and in order.
 *
 * @param raw flat name, value pairs as they arrived
 * @param chunkable true where this client gets an answer without a length in chunks. Only then can trailers follow,
 *   and only then is `Trailer` sent.
 */
export function clientHeaders(
  raw: readonly string[],
  requestId: string,
  edits: HeaderEdits | null,
  chunkable: boolean,
): ClientHead {
  const head = answerHead(raw, null, chunkable)
  head.fields.push('X-Request-Id', requestId)
  return edits === null ? head : { ...head, fields: applyEdits(head.fields, edits) }
}

/** The same without the id, which is the same for all answers with the same head. */
export function answerHead(
  raw: readonly string[],
  edits: HeaderEdits | null,
  chunkable: boolean,
): ClientHead {
  const connectionFields = fieldsNamedByConnection(raw)
  const fields: string[] = []
  let trailer: string | null = null
  let length = -1
  let eventStream = false
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i]!
    const value = raw[i + 1]!
    const kind = classifyResponseField(name)
    if (kind === 'content-length') length = Number(value)
    else if (kind === 'content-type') eventStream = value.startsWith('text/event-stream')
    else if (kind === 'trailer') trailer = value
    if (kind === 'drop' || kind === 'transfer-encoding' || kind === 'trailer') continue
    if (connectionFields?.has(name.toLowerCase())) continue
    fields.push(name, value)
  }
  if (trailer !== null && chunkable && length === -1) fields.push('Trailer', trailer)
  return { fields: edits === null ? fields : applyEdits(fields, edits), length, eventStream }
}

/** An answer that cannot have a body has no length of its own (RFC 9110, section 8.6). */
export function withoutLength(fields: readonly string[]): readonly string[] {
  const isLength = (name: string) => name.length === 14 && name.toLowerCase() === 'content-length'
  if (!fields.some((name, i) => i % 2 === 0 && isLength(name))) return fields
  return fields.filter((_, i) => !isLength(fields[i & ~1]!))
}

/** The trailers of an answer that may reach the client: no framing or hop-by-hop fields (RFC 9110, section 6.5.1). */
export function clientTrailers(raw: readonly string[]): [string, string][] {
  const out: [string, string][] = []
  for (let i = 0; i < raw.length; i += 2) {
    const lower = raw[i]!.toLowerCase()
    if (!isHopByHop(lower) && lower !== 'content-length') out.push([raw[i]!, raw[i + 1]!])
  }
  return out
}
