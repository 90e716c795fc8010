import type { RequestHead } from './request-head.ts'

/**
 * Whether a request wants to become a WebSocket (RFC 6455, section 4.1). Its `Connection` field is not looked at: Node's
 * parser reports an upgrade only where that names it.
 */
export function asksForWebSocket({
  method,
  httpVersion,
  headers,
}: Pick<RequestHead, 'method' | 'httpVersion' | 'headers'>): boolean {
  return method === 'GET' && httpVersion === '1.1' && headers.upgrade?.trim().toLowerCase() === 'websocket'
}

/** The same for a head that no parser has looked at: `Connection` has to name the upgrade. */
export function isWebSocketHandshake(head: RequestHead): boolean {
  return asksForWebSocket(head) && /(?:^|[\s,])upgrade(?:[\s,]|$)/i.test(head.headers.connection ?? '')
}
