import { EventEmitter } from 'node:events'
import type { Socket } from 'node:net'
import type { DatabaseError } from './database-error.ts'
import { protocolError } from './socket.ts'

/** No message that has to be looked at as a whole comes near it. */
const MAX_CHECKED_BYTES = 65_536

/** The longest row of a token table is a few kilobytes. */
const MAX_MESSAGE_BYTES = 16_777_216

/** What a server may ask for that is not worth minutes of the processor's (RFC 5802 recommends 4096). */
const MAX_SCRAM_ITERATIONS = 1_000_000

const READY_FOR_QUERY = 0x5a

/** The messages that belong to the start of a session, and to statements without cursors and copying. */
const STARTUP_TYPES = new Set([...'RSKZENv'].map((type) => type.charCodeAt(0)))
const STATEMENT_TYPES = new Set([...'12tTnDCIENSAZ'].map((type) => type.charCodeAt(0)))

/** Those that are read to the end of a text, whether it has one or not. */
const CHECKED_TYPES = new Set([...'TA'].map((type) => type.charCodeAt(0)))

const HEADER_BYTES = 5
const NOTHING: Buffer = Buffer.alloc(0)

/**
 * The socket as postgres.js gets it. The real one stays with its owner: postgres.js removes all listeners of a socket that
 * has closed, and writes to one whose other half is gone. It also believes whatever a server says: malformed messages are
 * promises without a catch, errors without a listener, and loops without an end. So each message is looked at first, as a
 * whole where its content can do harm, and by its type and length elsewhere.
 */
export class MessageGuard extends EventEmitter {
  readonly #socket: Socket
  /** The beginning of a message of which more has to come before it can be passed on. */
  #rest = NOTHING
  /** Bytes to come of a message whose beginning was passed on. */
  #passing = 0
  #ready = false
  #closed = false
  /** True once something was sent: from then on the server may hold a session for this connection. */
  hasSpoken = false

  constructor(socket: Socket) {
    super()
    this.#socket = socket
    socket.on('data', this.#onData)
    socket.on('drain', () => this.emit('drain'))
    socket.on('error', (error) => this.#forwardError(error))
    socket.once('close', (hadError: boolean) => {
      this.#closed = true
      this.emit('close', hadError)
    })
  }

  get readyState(): string {
    return this.#closed ? 'closed' : this.#socket.readyState
  }

  write(chunk: Buffer, done?: () => void): boolean {
    // It was paused behind the answer to the request for TLS.
    if (!this.hasSpoken) this.#socket.resume()
    this.hasSpoken = true
    return this.#closed || this.#socket.writableEnded ? false : this.#socket.write(chunk, done)
  }

  end(chunk?: Buffer): void {
    if (this.#closed || this.#socket.writableEnded) return
    if (chunk === undefined) this.#socket.end()
    else this.#socket.end(chunk)
  }

  destroy(): void {
    this.#socket.destroy()
  }

  pause(): void {
    this.#socket.pause()
  }

  resume(): void {
    this.#socket.resume()
  }

  readonly #onData = (chunk: Buffer): void => {
    const data = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk])
    let at = Math.min(this.#passing, data.length)
    this.#passing -= at
    while (this.#passing === 0 && at < data.length) {
      const message = readMessage(data, at, this.#ready)
      if (message.kind === 'partial') break
      if (message.kind === 'invalid') {
        this.#refuse(protocolError(message.problem))
        return
      }
      if (data[at] === READY_FOR_QUERY) this.#ready = true
      this.#passing = Math.max(0, message.end - data.length)
      at = Math.min(message.end, data.length)
    }
    this.#rest = at === data.length ? NOTHING : data.subarray(at)
    if (at > 0) this.emit('data', at === data.length ? data : data.subarray(0, at))
  }

  #refuse(error: DatabaseError): void {
    this.#socket.off('data', this.#onData)
    this.#forwardError(error)
    this.#socket.destroy()
  }

  #forwardError(error: Error): void {
    if (this.listenerCount('error') > 0) this.emit('error', error)
  }
}

type Message =
  /** `end` may lie beyond what has arrived. */
  | { readonly kind: 'passed'; readonly end: number }
  | { readonly kind: 'partial' }
  | { readonly kind: 'invalid'; readonly problem: string }

/** Reads the message of a server that begins at a place (PostgreSQL manual, section 54.7): a type, a length, a body. */
function readMessage(data: Buffer, at: number, ready: boolean): Message {
  const type = data[at]!
  if (!(ready ? STATEMENT_TYPES : STARTUP_TYPES).has(type))
    return { kind: 'invalid', problem: `a message of type ${type}, which does not belong there` }
  if (data.length - at < HEADER_BYTES) return { kind: 'partial' }
  const length = data.readUInt32BE(at + 1)
  const checked = !ready || CHECKED_TYPES.has(type)
  if (length < 4 || length > (checked ? MAX_CHECKED_BYTES : MAX_MESSAGE_BYTES))
    return { kind: 'invalid', problem: `a message of ${length} bytes` }
  const end = at + 1 + length
  if (!checked) return { kind: 'passed', end }
  if (data.length < end) return { kind: 'partial' }
  const problem = problemOfBody(String.fromCharCode(type), data.subarray(at + HEADER_BYTES, end))
  return problem === null ? { kind: 'passed', end } : { kind: 'invalid', problem }
}

function problemOfBody(type: string, body: Buffer): string | null {
  if (type === 'R') return problemOfAuthentication(body)
  if (type === 'T') return isRowDescription(body) ? null : 'a description of rows that is none'
  // A process, a channel, a payload.
  if (type === 'A') return endOfText(body, endOfText(body, 4)) <= body.length ? null : 'a notice that is none'
  return null
}

const COLUMN_BYTES = 18

function isRowDescription(body: Buffer): boolean {
  if (body.length < 2) return false
  let at = 2
  for (let left = body.readUInt16BE(0); left > 0; left--) at = endOfText(body, at) + COLUMN_BYTES
  return at === body.length
}

/** Where the text that begins at a place is over, its zero byte included; beyond everything where it never is. */
function endOfText(body: Buffer, from: number): number {
  const zero = from < body.length ? body.indexOf(0, from) : -1
  return zero === -1 ? Number.POSITIVE_INFINITY : zero + 1
}

/** What makes an authentication request one that cannot be answered; null where it can (PostgreSQL manual, section 54.7). */
function problemOfAuthentication(body: Buffer): string | null {
  if (body.length < 4) return 'an authentication request without a kind'
  const kind = body.readUInt32BE(0)
  const text = body.toString('latin1', 4)
  switch (kind) {
    case 0:
    case 3:
      return null
    case 5:
      return body.length >= 8 ? null : 'an MD5 authentication request without a salt'
    case 10:
      return text.split('\0').includes('SCRAM-SHA-256')
        ? null
        : 'it asks for a way of authentication other than SCRAM-SHA-256'
    case 11:
      return isScramChallenge(text) ? null : 'a SCRAM challenge that is none'
    case 12:
      return text.startsWith('v=') ? null : 'a SCRAM signature that is none'
    default:
      return `it asks for authentication of kind ${kind}; expected a password (MD5 or SCRAM-SHA-256) or none`
  }
}

function isScramChallenge(text: string): boolean {
  const fields = new Map(text.split(',').map((field) => [field.slice(0, 2), field.slice(2)]))
  const iterations = Number(fields.get('i='))
  return (
    (fields.get('r=') ?? '') !== '' &&
    (fields.get('s=') ?? '') !== '' &&
    Number.isInteger(iterations) &&
    iterations > 0 &&
    iterations <= MAX_SCRAM_ITERATIONS
  )
}
