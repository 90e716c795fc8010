import type { Duplex } from 'node:stream'
import { message, withLength } from './postgres-messages.ts'

/** The moments of a connection's beginning at which a server may fail. */
export type Stage =
  | 'accepted'
  | 'asked for TLS'
  | 'greeted by TLS'
  | 'started up'
  | 'told the first SCRAM message'
  | 'told the last SCRAM message'
  | 'authenticated'
  | 'ready'
  | 'asked a query'

/** What a server does at one moment, in place of what the protocol has there. */
export interface Misbehaviour {
  readonly stage: Stage
  readonly name: string
  readonly act: (socket: Duplex) => void
}

export const STAGES: readonly Stage[] = [
  'accepted',
  'asked for TLS',
  'greeted by TLS',
  'started up',
  'told the first SCRAM message',
  'told the last SCRAM message',
  'authenticated',
  'ready',
  'asked a query',
]

/** At every stage: the end of the connection, in order and by force. */
export const CLOSINGS: readonly Misbehaviour[] = STAGES.flatMap((stage) => [
  { stage, name: 'ends the connection', act: (socket: Duplex) => void socket.end() },
  { stage, name: 'destroys the connection', act: (socket: Duplex) => void socket.destroy() },
])

const HTTP = 'HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\nno\n'
const NOISE = Buffer.from(Array.from({ length: 256 }, (_, i) => (i * 151 + 17) % 256))
const FATAL = message('E', 'SFATAL\0VFATAL\0C53300\0Msorry, too many clients already\0\0')

/** What is wrong wherever a message is expected. */
const ANYWHERE: Readonly<Record<string, Buffer>> = {
  'text of HTTP': Buffer.from(HTTP),
  noise: NOISE,
  zeros: Buffer.alloc(64),
  'a FATAL and its end': FATAL,
  'an error without fields': message('E'),
  'an error whose fields have no end': message('E', 'SFATAL'),
  'a length of 0': withLength('R', 0, 'xxxxxxxx'),
  'a length of 2^31 - 1': withLength('R', 2 ** 31 - 1, 'xxxxxxxx'),
  'a length below 0': withLength('R', -1, 'xxxxxxxx'),
  'a notice without fields': message('N'),
  'a parameter without a value': message('S', 'server_version'),
}

const AUTHENTICATION: Readonly<Record<string, Buffer>> = {
  'R of length 4': withLength('R', 4),
  'an unknown way to authenticate': message('R', 99),
  'MD5 without its salt': message('R', 5),
  'Kerberos, GSSAPI and SSPI': Buffer.concat([message('R', 2), message('R', 7), message('R', 9)]),
  'SASL without a mechanism': message('R', 10, '\0'),
  'SASL with unknown mechanisms': message('R', 10, 'OAUTHBEARER\0X\0\0'),
  'SASL whose list has no end': message('R', 10, 'SCRAM-SHA-256'),
  'SASL that goes on before it began': message('R', 11, 'r=x,s=AAAA,i=4096'),
  'SASL that is over before it began': message('R', 12, 'v=AAAA'),
  'a version to negotiate, cut off': message('v', 1),
}

const FIRST_SCRAM: Readonly<Record<string, Buffer>> = {
  'SCRAM without salt': message('R', 11, 'r=nonce,i=4096'),
  'SCRAM without iterations': message('R', 11, 'r=nonce,s=c2FsdA=='),
  'SCRAM with no iterations': message('R', 11, 'r=nonce,s=c2FsdA==,i=0'),
  'SCRAM with iterations below 0': message('R', 11, 'r=nonce,s=c2FsdA==,i=-7'),
  'SCRAM with a word for iterations': message('R', 11, 'r=nonce,s=c2FsdA==,i=many'),
  'SCRAM with a foreign nonce': message('R', 11, 'r=nonce,s=c2FsdA==,i=4096'),
  'SCRAM that is empty': message('R', 11),
  'SCRAM that is over at once': message('R', 12, 'v=AAAA'),
}

const LAST_SCRAM: Readonly<Record<string, Buffer>> = {
  'a signature that is wrong': message('R', 12, 'v=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA='),
  'a signature that is missing': message('R', 12),
  'an error of SCRAM': message('R', 12, 'e=invalid-proof'),
}

const BEFORE_READY: Readonly<Record<string, Buffer>> = {
  'a key that is cut off': message('K'),
  'a state that is cut off': message('Z'),
  'a row before any question': message('D', Buffer.from([0, 1, 0, 0, 0, 1, 65])),
  'a description before any question': message('T', Buffer.from([0, 1])),
  'an unknown message': message('\0', 'x'),
  'a copy that nobody asked for': message('G', Buffer.from([0, 0, 0])),
}

const ANSWERS: Readonly<Record<string, Buffer>> = {
  'a row without a description': Buffer.concat([
    message('1'),
    message('2'),
    message('D', Buffer.from([0, 1, 0, 0, 0, 1, 65])),
  ]),
  'a row of 65535 cells': Buffer.concat([
    message('1'),
    message('2'),
    message('D', Buffer.from([255, 255, 0, 0, 0, 1, 65])),
  ]),
  'a cell beyond its message': Buffer.concat([
    message('1'),
    message('2'),
    message('D', Buffer.from([0, 1, 127, 255, 255, 255, 65])),
  ]),
  'a description of more columns than it has': message('T', Buffer.from([0, 9, 65, 0])),
  'parameters that are cut off': message('t'),
  'a completion without a tag': message('C'),
  'a notification that is cut off': message('A', 1, 'x'),
  'a copy in place of an answer': message('G', Buffer.from([0, 0, 0])),
  'ready, but no answer': message('Z', 'I'),
  'a SCRAM message': message('R', 11, 'r=x'),
}

const TLS_ANSWERS: Readonly<Record<string, Buffer>> = {
  'a letter that is neither S nor N': Buffer.from('X'),
  'N: no TLS here': Buffer.from('N'),
  'an old error': FATAL,
  'text of HTTP': Buffer.from(HTTP),
  noise: NOISE,
}

const HANDSHAKES: Readonly<Record<string, Buffer>> = {
  'text of HTTP': Buffer.from(HTTP),
  noise: NOISE,
  'an alert of TLS': Buffer.from([21, 3, 3, 0, 2, 2, 40]),
  'plain text behind S': Buffer.concat([message('R', 0), message('Z', 'I')]),
}

const write = (stage: Stage, all: Readonly<Record<string, Buffer>>): Misbehaviour[] =>
  Object.entries(all).map(([name, bytes]) => ({ stage, name, act: (socket) => void socket.write(bytes) }))

/** At every stage: bytes that do not belong there. The connection stays open, unless the gateway closes it. */
export const GARBAGE: readonly Misbehaviour[] = [
  ...write('accepted', { 'text of HTTP': Buffer.from(HTTP), noise: NOISE }),
  ...write('asked for TLS', TLS_ANSWERS),
  ...write('greeted by TLS', HANDSHAKES),
  ...write('started up', { ...ANYWHERE, ...AUTHENTICATION }),
  ...write('told the first SCRAM message', { ...ANYWHERE, ...FIRST_SCRAM }),
  ...write('told the last SCRAM message', { ...ANYWHERE, ...LAST_SCRAM }),
  ...write('authenticated', { ...ANYWHERE, ...BEFORE_READY }),
  ...write('ready', { ...ANYWHERE, ...BEFORE_READY }),
  ...write('asked a query', { ...ANYWHERE, ...ANSWERS }),
]
