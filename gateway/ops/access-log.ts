import type { ErrorCode } from '../errors.ts'
import type { Exchange } from '../exchange.ts'
import type { PeerTrust } from '../proxy/forwarded.ts'
import { traceIdOf } from '../proxy/traceparent.ts'

/** Where lines go: pino's `info`. */
export interface LineSink {
  info(fields: object, message: string): void
}

export interface AccessLog {
  /** One line for one finished exchange. */
  write(exchange: Exchange, status: number, durationMs: number): void
  /** One line for bytes that were no request. */
  writeUnparsed(refusal: UnparsedLine): void
}

export interface UnparsedLine {
  readonly requestId: string
  /** Of the connection: there are no header fields that could tell another. */
  readonly clientAddress: string
  readonly status: number
  readonly code: ErrorCode
}

/** Query names whose values are somebody's key to something. */
export const SECRET_NAME =
  /token|secret|passw|pwd|auth|session|credential|signature|api[-_]?key|^(key|sig|code|jwt|sid)$/i

export const MASK = '***'

/** The shortest first part of a JWT that is taken for one. */
const JWT_HEAD_CHARS = 11

/**
 * Masks what looks like a JWT, wherever it stands. Each character is looked at once or twice: one expression for it all
 * would begin again at every `eyJ`, of which a client's URL may have thousands.
 */
export function maskJwts(text: string): string {
  return text.includes('eyJ') ? text.replace(/[\w.-]+/g, maskRun) : text
}

function maskRun(run: string): string {
  const parts = run.split('.')
  const kept: string[] = []
  for (let i = 0; i < parts.length; i++) {
    const part = parts[i]!
    const at = part.indexOf('eyJ')
    const isJwt = at !== -1 && part.length - at >= JWT_HEAD_CHARS && (parts[i + 1] ?? '') !== ''
    kept.push(isJwt ? `${part.slice(0, at)}${MASK}` : part)
    if (isJwt) i += 2
  }
  return kept.join('.')
}

const NOTHING_READ = {
  requestId: '',
  traceId: null,
  clientAddress: '',
  method: null,
  host: null,
  path: null,
  route: null,
  upstream: null,
  target: null,
  status: 0,
  code: null,
  retries: 0,
  userId: null,
  mandateId: null,
  bytesIn: 0,
  bytesOut: 0,
  durationMs: 0,
  lookupMs: null,
  upstreamMs: null,
}

export function createAccessLog(sink: LineSink, peers: Pick<PeerTrust, 'clientAddress'>): AccessLog {
  return {
    write(exchange, status, durationMs) {
      const { req, route, identity, count } = exchange
      sink.info(
        {
          requestId: exchange.requestId,
          traceId: traceIdOf(exchange.trace.traceparent),
          clientAddress: peers.clientAddress(exchange.peer, req),
          method: req.method,
          host: req.headers.host ?? null,
          path: maskPath(req.url ?? ''),
          route: route?.label ?? null,
          upstream: route?.upstream.name ?? null,
          target: exchange.target,
          status,
          code: exchange.code,
          retries: exchange.retries,
          userId: identity?.userId ?? null,
          mandateId: identity?.mandateId ?? null,
          bytesIn: count.bytesIn,
          bytesOut: count.bytesOut,
          durationMs: rounded(durationMs),
          lookupMs: exchange.lookupMs === null ? null : rounded(exchange.lookupMs),
          upstreamMs: exchange.upstreamMs === null ? null : rounded(exchange.upstreamMs),
        },
        'request',
      )
    },
    writeUnparsed: (refusal) => sink.info({ ...NOTHING_READ, ...refusal }, 'request'),
  }
}

/** The path as it came, but for values in it that look like secrets. */
export function maskPath(url: string): string {
  const query = url.indexOf('?')
  if (query === -1 && !url.includes('eyJ')) return url
  const path = maskJwts(query === -1 ? url : url.slice(0, query))
  if (query === -1) return path
  return `${path}?${url
    .slice(query + 1)
    .split('&')
    .map(maskPair)
    .join('&')}`
}

function maskPair(pair: string): string {
  const equals = pair.indexOf('=')
  if (equals === -1) return maskJwts(pair)
  const name = pair.slice(0, equals)
  if (SECRET_NAME.test(decoded(name))) return `${name}=${MASK}`
  return `${name}=${maskJwts(pair.slice(equals + 1))}`
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

function rounded(ms: number): number {
  return Math.round(ms * 1000) / 1000
}
