import { createHash } from 'node:crypto'
import type { ResponseHead } from '../../http1/heads.ts'

/** RFC 6455, section 1.3. */
const ACCEPT_SUFFIX = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11'

/**
 * Checks that a 101 switches to the WebSocket that the handshake asked for (RFC 6455, section 4.1). A 101 for another
 * handshake would open a tunnel to something that does not speak WebSocket.
 *
 * @param key `Sec-WebSocket-Key` of the handshake
 * @returns what is wrong with it, or null
 */
export function checkSwitch({ fields }: ResponseHead, key: string): string | null {
  const upgrade = fieldValues(fields, 'upgrade')
  if (upgrade.length !== 1 || upgrade[0]!.toLowerCase() !== 'websocket')
    return 'a 101 without Upgrade: websocket'
  const options = fieldValues(fields, 'connection').join(',').toLowerCase().split(',')
  if (!options.some((option) => option.trim() === 'upgrade')) return 'a 101 without Connection: Upgrade'
  const accept = fieldValues(fields, 'sec-websocket-accept')
  if (accept.length !== 1 || accept[0] !== acceptOf(key)) return 'a wrong Sec-WebSocket-Accept'
  return null
}

/** @returns `Sec-WebSocket-Accept` for a key */
export function acceptOf(key: string): string {
  return createHash('sha1').update(`${key}${ACCEPT_SUFFIX}`).digest('base64')
}

/** @returns `Sec-WebSocket-Key`; null where there is none, or more than one, so that no answer can be right */
export function keyOf(fields: readonly string[]): string | null {
  const keys = fieldValues(fields, 'sec-websocket-key')
  return keys.length === 1 ? keys[0]! : null
}

function fieldValues(fields: readonly string[], name: string): string[] {
  const values: string[] = []
  for (let i = 0; i < fields.length; i += 2) {
    if (fields[i]!.length === name.length && fields[i]!.toLowerCase() === name) values.push(fields[i + 1]!)
  }
  return values
}
