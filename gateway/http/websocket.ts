import type { RequestHead } from './request-head.ts'

/** Whether a request wants to become a WebSocket (RFC 6455, section 4.1). Any other upgrade is ignored. */
export function isWebSocketHandshake({ method, httpVersion, headers }: RequestHead): boolean {
  return (
    method === 'GET' &&
    httpVersion === '1.1' &&
    headers.upgrade?.trim().toLowerCase() === 'websocket' &&
    /(?:^|[\s,])upgrade(?:[\s,]|$)/i.test(headers.connection ?? '')
  )
}
