import type { ProxiedClient } from '../../http/forwarded.ts'
import { parseHost } from '../../http/host.ts'

const AUTHORITY = 0x02
const SSL = 0x20

/** Type and length. */
const TLV_FIXED = 3
/** The flags, and the outcome of the verification of a client certificate. */
const SSL_FIXED = 5
/** The flag that the client has connected by TLS (PP2_CLIENT_SSL); without it the TLV says that it has not. */
const CLIENT_SSL = 1

/**
 * Reads what a balancer that ends TLS says of it (section 2.2 of the PROXY protocol); other TLVs are skipped.
 *
 * @returns null where the bytes are no TLVs
 */
export function readTlvs(bytes: Buffer): Omit<ProxiedClient, 'address'> | null {
  let encrypted = false
  let serverName: string | null = null
  for (let at = 0; at < bytes.length; ) {
    if (bytes.length - at < TLV_FIXED) return null
    const type = bytes[at]
    const start = at + TLV_FIXED
    at = start + bytes.readUInt16BE(at + 1)
    if (at > bytes.length) return null
    if (type === AUTHORITY) serverName = readName(bytes.toString('latin1', start, at))
    if (type !== SSL) continue
    if (at - start < SSL_FIXED) return null
    encrypted = (bytes[start]! & CLIENT_SSL) !== 0
  }
  return { encrypted, serverName }
}

/** The client has chosen it, so that it may be anything. */
function readName(text: string): string | null {
  const parsed = parseHost(text)
  return parsed.kind === 'ok' ? parsed.hostname : null
}
