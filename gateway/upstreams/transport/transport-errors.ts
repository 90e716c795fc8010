import type { ErrorCode } from '../../core/errors.ts'

/** Node's and undici's codes of a connection that could not be made. */
const UNREACHABLE = new Set([
  'ECONNREFUSED',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'EHOSTDOWN',
  'EADDRNOTAVAIL',
  'ENOENT',
  'EACCES',
])

const TIMED_OUT = new Set([
  'UND_ERR_CONNECT_TIMEOUT',
  'UND_ERR_HEADERS_TIMEOUT',
  'UND_ERR_BODY_TIMEOUT',
  'ETIMEDOUT',
  'UPGRADE_TIMEOUT',
  // http-proxy-3's
  'ECONNECT_TIMEOUT',
])

const RESET = new Set(['ECONNRESET', 'EPIPE', 'ECONNABORTED', 'UND_ERR_CLOSED', 'UND_ERR_DESTROYED'])

/** undici's messages for an unsolicited answer, which it reports as a socket error. */
const UNSOLICITED = new Set(['bad response', 'bad upgrade'])

/**
 * The one mapping from what a transport reports to the gateway's codes.
 *
 * @param error as node:net, node:tls, node:http or undici raise it
 */
export function upstreamErrorCode(error: unknown): ErrorCode {
  const { code, message } = asError(error)
  if (isConnectError(error)) return TIMED_OUT.has(code) ? 'upstream_timeout' : 'upstream_unreachable'
  if (TIMED_OUT.has(code)) return 'upstream_timeout'
  if (code === 'UND_ERR_SOCKET') return UNSOLICITED.has(message) ? 'upstream_invalid' : 'upstream_reset'
  if (RESET.has(code) || code.startsWith('ERR_HTTP2_')) return 'upstream_reset'
  if (code.startsWith('HPE_') || code.startsWith('UND_ERR_')) return 'upstream_invalid'
  return code === '' ? 'upstream_invalid' : 'upstream_unreachable'
}

/** True where the connection was never made, so that the target cannot have seen anything of the request. */
export function isConnectError(error: unknown): boolean {
  const { code } = asError(error)
  if (code === 'UND_ERR_CONNECT_TIMEOUT' || code === 'ECONNECT_TIMEOUT' || UNREACHABLE.has(code)) return true
  // A name with several addresses: node:net reports all attempts in one error.
  return error instanceof AggregateError && error.errors.every((each) => isConnectError(each))
}

function asError(error: unknown): { code: string; message: string } {
  if (!(error instanceof Error)) return { code: '', message: '' }
  const code = 'code' in error && typeof error.code === 'string' ? error.code : ''
  return { code, message: error.message }
}
