import type { Engine } from './engine.ts'

/**
 * - `headers_too_large`: more bytes or fields of a head or of trailers than allowed
 * - `malformed`: bytes that are no HTTP/1.0 or HTTP/1.1, or a message whose length is in doubt
 * - `unexpected_upgrade`: a 101, or an upgrade with a body, that the handler did not want
 * - `closed`: bytes behind a message after which the connection ends
 */
export type WireErrorCode = 'headers_too_large' | 'malformed' | 'unexpected_upgrade' | 'closed'

/** Why a message was refused. A value: what others send is no fault of this program. */
export interface WireError {
  readonly code: WireErrorCode
  /** For logs: holds no bytes of the message. */
  readonly reason: string
}

/** What llhttp, or a bound that ended it, has against the piece that it parsed. */
export function describeRefusal(engine: Engine, parser: number, code: number): WireError {
  const { exceeded } = engine.spans
  if (exceeded === 'fields') return { code: 'headers_too_large', reason: 'too many fields' }
  if (exceeded === 'overhead') return { code: 'headers_too_large', reason: 'chunk extensions' }
  return { code: 'malformed', reason: `${engine.errorName(code)}: ${engine.reason(parser)}` }
}
