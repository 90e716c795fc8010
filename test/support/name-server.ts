import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { isIPv6 } from 'node:net'
import type { FindAddresses } from '../../gateway/names/address.ts'

/** What a name server of the test's own answers for one name. */
export interface NameRecord {
  readonly addresses?: readonly string[]
  /** Seconds. */
  readonly ttl?: number
  /** `NOERROR` where nothing is said: an answer without addresses where the family has none. */
  readonly code?: 'NOERROR' | 'SERVFAIL' | 'NXDOMAIN' | 'REFUSED'
  /** Questions that get no answer at all. */
  readonly silent?: 'all' | 'A' | 'AAAA'
}

/** A real name server on UDP. Names that it has no record of do not exist. */
export interface NameServer {
  readonly address: string
  /** As a `nameserver` line has it: `127.0.0.1:5353`. */
  readonly server: string
  /** By names in lower case; may be changed at any time. */
  readonly records: Map<string, NameRecord>
  /** Every question so far, such as `api.test A`, repeated ones included. */
  readonly questions: readonly string[]
  /** How many of these questions have come. */
  asked(question: string): number
  close(): void
}

const CODES = { NOERROR: 0, SERVFAIL: 2, NXDOMAIN: 3, REFUSED: 5 }
const TYPES = new Map([
  [1, 'A'],
  [28, 'AAAA'],
])

/** @param at a free port of 127.0.0.1 where nothing is said */
export async function startNameServer(
  records: Readonly<Record<string, NameRecord>> = {},
  at: { readonly address: string; readonly port: number } = { address: '127.0.0.1', port: 0 },
): Promise<NameServer> {
  const zone = new Map(Object.entries(records))
  const questions: string[] = []
  const socket = createSocket('udp4')
  socket.on('message', (message, peer) => {
    const { name, type, end } = questionOf(message)
    questions.push(`${name} ${type}`)
    const record = zone.get(name) ?? { code: 'NXDOMAIN' }
    if (record.silent === 'all' || record.silent === type) return
    socket.send(answerTo(message.subarray(0, end), type, record), peer.port, peer.address)
  })
  socket.bind(at.port, at.address)
  await once(socket, 'listening')
  return {
    address: at.address,
    server: `${at.address}:${socket.address().port}`,
    records: zone,
    questions,
    asked: (question) => questions.filter((each) => each === question).length,
    close: () => void socket.close(),
  }
}

function questionOf(message: Buffer): { name: string; type: string; end: number } {
  const labels: string[] = []
  let at = 12
  while (message[at] !== 0) {
    const length = message[at]!
    labels.push(message.toString('latin1', at + 1, at + 1 + length))
    at += 1 + length
  }
  const type = TYPES.get(message.readUInt16BE(at + 1)) ?? 'other'
  return { name: labels.join('.').toLowerCase(), type, end: at + 5 }
}

/** @param question the message's head and its question, without what follows */
function answerTo(question: Buffer, type: string, record: NameRecord): Buffer {
  const { addresses = [], ttl = 60, code = 'NOERROR' } = record
  const fitting = addresses.filter((address) => (isIPv6(address) ? 'AAAA' : 'A') === type)
  const answer = Buffer.from(question)
  answer.writeUInt16BE(0x8180 | CODES[code], 2)
  answer.writeUInt16BE(fitting.length, 6)
  answer.writeUInt32BE(0, 8)
  return Buffer.concat([answer, ...fitting.map((address) => recordOf(address, ttl))])
}

function recordOf(address: string, ttl: number): Buffer {
  const data = isIPv6(address)
    ? Buffer.from(expanded(address), 'hex')
    : Buffer.from(address.split('.').map(Number))
  const head = Buffer.alloc(12)
  // The name is the question's, at its place in the message.
  head.writeUInt16BE(0xc00c, 0)
  head.writeUInt16BE(isIPv6(address) ? 28 : 1, 2)
  head.writeUInt16BE(1, 4)
  head.writeUInt32BE(ttl, 6)
  head.writeUInt16BE(data.length, 10)
  return Buffer.concat([head, data])
}

/** All eight groups of an IPv6 address, as hexadecimal digits. */
function expanded(address: string): string {
  const [left = '', right] = address.split('::')
  const groups = (text: string) => text.split(':').filter((group) => group !== '')
  const [before, after] = [groups(left), groups(right ?? '')]
  const zeros = Array.from({ length: 8 - before.length - after.length }, () => '0')
  return [...before, ...zeros, ...after].map((group) => group.padStart(4, '0')).join('')
}

/** For targets that are addresses. */
export const nothingToFind: FindAddresses = (host) => {
  throw new Error(`the test has no names, and was asked for ${host}`)
}
