import { isIPv4, isIPv6 } from 'node:net'
import type { ProxiedClient } from '../../http/forwarded.ts'
import { readTlvs } from './proxy-tlvs.ts'

/** The header that a load balancer puts before a client's bytes, as far as it was read. */
export type ProxyHeader =
  /** All bytes so far fit, and more have to come. */
  | { readonly kind: 'incomplete' }
  | { readonly kind: 'bad'; readonly reason: string }
  | {
      readonly kind: 'whole'
      /** Bytes of it; what follows is the client's. */
      readonly length: number
      readonly client: ProxiedClient
    }

const INCOMPLETE: ProxyHeader = { kind: 'incomplete' }

/** The balancer connects on its own behalf, or for a client that it does not name. */
const UNNAMED: ProxiedClient = { address: null, encrypted: false, serverName: null }

const V1_BEGIN = Buffer.from('PROXY ')
/** With its CRLF (section 2.1). */
const V1_MAX = 107

const V2_BEGIN = Buffer.from('\r\n\r\n\0\r\nQUIT\n')
const V2_FIXED = 16
/** Addresses have 216 bytes at most; the rest is room for TLVs. */
const V2_MAX = 4096

/**
 * Reads a header of the PROXY protocol (haproxy.org, doc/proxy-protocol.txt), version 1 or 2, and
 * refuses what deviates from it.
 */
export function readProxyHeader(bytes: Buffer): ProxyHeader {
  if (mayBegin(bytes, V2_BEGIN)) return bytes.length < V2_FIXED ? INCOMPLETE : readVersion2(bytes)
  if (mayBegin(bytes, V1_BEGIN)) return readVersion1(bytes)
  return bad('neither version of the header')
}

/** True also where more bytes are needed to know. */
function mayBegin(bytes: Buffer, signature: Buffer): boolean {
  const length = Math.min(bytes.length, signature.length)
  return bytes.compare(signature, 0, length, 0, length) === 0
}

function readVersion1(bytes: Buffer): ProxyHeader {
  const end = bytes.subarray(0, V1_MAX).indexOf('\r\n')
  if (end === -1) return bytes.length < V1_MAX ? INCOMPLETE : bad('a line without an end')
  const length = end + 2
  const line = bytes.toString('latin1', V1_BEGIN.length, end)
  // What follows UNKNOWN has no meaning.
  if (line === 'UNKNOWN' || line.startsWith('UNKNOWN ')) return { kind: 'whole', length, client: UNNAMED }
  const [family, source = '', destination = '', ...ports] = line.split(' ')
  const isAddress = family === 'TCP4' ? isIPv4 : family === 'TCP6' ? isPlainIPv6 : null
  if (isAddress === null) return bad('a family that is not known')
  if (!isAddress(source) || !isAddress(destination)) return bad('an address that is none')
  if (ports.length !== 2 || !ports.every(isPort)) return bad('a port that is none')
  return { kind: 'whole', length, client: { ...UNNAMED, address: source } }
}

/** A zone (`fe80::1%eth0`) would name an interface of the balancer, which means nothing here. */
function isPlainIPv6(text: string): boolean {
  return isIPv6(text) && !text.includes('%')
}

function isPort(text: string): boolean {
  return /^(?:0|[1-9]\d{0,4})$/.test(text) && Number(text) <= 65535
}

/** Bytes of the addresses by family and transport (section 2.2); only streams of the Internet give one. */
const V2_ADDRESSES: Readonly<Record<number, number>> = {
  0: 0,
  17: 12,
  18: 12,
  33: 36,
  34: 36,
  49: 216,
  50: 216,
}
const TCP4 = 0x11
const TCP6 = 0x21
/** What IPv6 addresses begin with that are IPv4's (RFC 4291, section 2.5.5.2). */
const V4_MAPPED = Buffer.from('00000000000000000000ffff', 'hex')

function readVersion2(bytes: Buffer): ProxyHeader {
  const version = bytes[12]! >> 4
  const command = bytes[12]! & 15
  const family = bytes[13]!
  const rest = bytes.readUInt16BE(14)
  const length = V2_FIXED + rest
  if (version !== 2 || command > 1) return bad('a version or command that is not known')
  if (length > V2_MAX) return bad(`a header of ${length} bytes`)
  const needed = V2_ADDRESSES[family]
  // LOCAL: a health check by the balancer itself, whatever it fills in (section 2.2).
  if (command === 0) return bytes.length < length ? INCOMPLETE : { kind: 'whole', length, client: UNNAMED }
  if (needed === undefined) return bad('a family or transport that is not known')
  if (rest < needed) return bad('addresses that are cut short')
  if (bytes.length < length) return INCOMPLETE
  const told = readTlvs(bytes.subarray(V2_FIXED + needed, length))
  if (told === null) return bad('a TLV that is cut short')
  return { kind: 'whole', length, client: { address: version2Address(bytes, family), ...told } }
}

function version2Address(bytes: Buffer, family: number): string | null {
  if (family === TCP4) return bytes.subarray(V2_FIXED, V2_FIXED + 4).join('.')
  if (family !== TCP6) return null
  const mapped = bytes.indexOf(V4_MAPPED) === V2_FIXED
  if (mapped) return bytes.subarray(V2_FIXED + V4_MAPPED.length, V2_FIXED + 16).join('.')
  const groups = Array.from({ length: 8 }, (_, n) => bytes.readUInt16BE(V2_FIXED + 2 * n).toString(16))
  // The shortest form, as `node:net` reports addresses (RFC 5952).
  return new URL(`http://[${groups.join(':')}]`).hostname.slice(1, -1)
}

function bad(reason: string): ProxyHeader {
  return { kind: 'bad', reason }
}
