/** A key of a WebSocket handshake and what accepts it (RFC 6455, section 1.3). */
export const WEBSOCKET_KEY = 'dGhlIHNhbXBsZSBub25jZQ=='
export const WEBSOCKET_ACCEPT = 's3pPLMBiTxaQ9kYGzzhZRbK+xOo='

/** The answer of a target that switches over after a handshake with that key. */
export const SWITCHED =
  'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n' +
  `Sec-WebSocket-Accept: ${WEBSOCKET_ACCEPT}\r\n\r\n`
