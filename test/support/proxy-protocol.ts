import { once } from 'node:events'
import { connect, type Socket } from 'node:net'

const SIGNATURE = Buffer.from('\r\n\r\n\0\r\nQUIT\n')

export interface Version2 {
  /** 1: PROXY, 0: LOCAL. */
  readonly command?: number
  readonly version?: number
  readonly family: number
  /** Addresses and ports, then TLVs. */
  readonly payload: Buffer
  /** What the header claims, where that is not the truth. */
  readonly length?: number
}

/** A header of version 2 of the PROXY protocol. */
export function version2({ command = 1, version = 2, family, payload, length }: Version2): Buffer {
  const head = Buffer.alloc(4)
  head[0] = version * 16 + command
  head[1] = family
  head.writeUInt16BE(length ?? payload.length, 2)
  return Buffer.concat([SIGNATURE, head, payload])
}

export const TCP4 = 0x11
export const TCP6 = 0x21

/** Source 203.0.113.9, destination 10.0.0.1. */
export const ADDRESSES4 = Buffer.from([203, 0, 113, 9, 10, 0, 0, 1, 0x30, 0x39, 0, 80])

/** Source 2001:db8::9, destination ::1. */
export const ADDRESSES6 = Buffer.from(`20010db8${'0'.repeat(20)}0009${'0'.repeat(31)}1${'30390050'}`, 'hex')

/** Types of TLVs. */
export const AUTHORITY = 0x02
export const SSL = 0x20

/** @param length what it claims, where that is not the truth */
export function tlv(type: number, value: Buffer | string, length?: number): Buffer {
  const bytes = Buffer.from(value as string)
  const head = Buffer.alloc(3)
  head[0] = type
  head.writeUInt16BE(length ?? bytes.length, 1)
  return Buffer.concat([head, bytes])
}

/** What a balancer says of TLS, without the details that follow in TLVs of its own. @param flags 1: the client speaks TLS */
export function sslTlv(flags: number): Buffer {
  return tlv(SSL, Buffer.from([flags, 0, 0, 0, 0]))
}

export const VERSION1 = 'PROXY TCP4 203.0.113.9 10.0.0.1 12345 80\r\n'

/** A connection that begins with these bytes, from this address of the loopback network, and this port. */
export async function balanced(
  port: number,
  header: Buffer | string,
  localAddress = '127.0.0.1',
  localPort = 0,
): Promise<Socket> {
  const socket = connect({ port, host: '127.0.0.1', localAddress, localPort })
  socket.on('error', () => {})
  await once(socket, 'connect')
  socket.write(header)
  return socket
}

/** All that comes until the end. */
export async function allOf(socket: Socket): Promise<string> {
  let text = ''
  socket.on('data', (chunk) => {
    text += chunk.toString('latin1')
  })
  await new Promise((resolve) => socket.once('close', resolve))
  return text
}
