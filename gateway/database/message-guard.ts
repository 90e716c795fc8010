import { EventEmitter } from 'node:events'
import type { Socket } from 'node:net'
import type { DatabaseError } from './database-error.ts'
import { protocolError } from './socket.ts'

/** Longer than any valid message that is checked as a whole. */
const MAX_CHECKED_BYTES = 65_536

/** Far longer than a row of a token table, which has a few kilobytes at most. */
const MAX_MESSAGE_BYTES = 16_777_216

/** More iterations than this would keep the processor busy for too long (RFC 5802 recommends 4096). */
const MAX_SCRAM_ITERATIONS = 1_000_000

const READY_FOR_QUERY = 0x5a

/** Types of the messages at the start of a session, and of those for statements without cursors and COPY. */
const STARTUP_TYPES = new Set([...'RSKZENv'].map((type) => type.charCodeAt(0)))
const STATEMENT_TYPES = new Set([...'12tTnDCIENSAZ'].map((type) => type.charCodeAt(0)))

/** Types whose bodies hold texts that postgres.js reads up to a zero byte, even where there is none. */
const CHECKED_TYPES = new Set([...'TA'].map((type) => type.charCodeAt(0)))

const HEADER_BYTES = 5
const EMPTY: Buffer = Buffer.alloc(0)

/**
 * Stands between the socket and postgres.js, for two reasons. postgres.js removes all listeners of a closed socket, and
 * writes to one whose other half is closed. And it trusts what a server sends: a malformed message leads to an unhandled
 * rejection, an error without a listener, or an endless loop. So each message is checked first: as a whole where its
 * content can do harm, and otherwise by its type and length.
 */
export class MessageGuard extends EventEmitter {
  readonly #socket: Socket
  /** The beginning of a message that is not passed on before all of it has come. */
  #rest = EMPTY
  /** Bytes to come of a message whose beginning was passed on; they follow unchecked. */
  #uncheckedBytes = 0
  #ready = false
  #closed = false
  /** True once something was sent. From then on the server may hold a session for this connection. */
  hasSent = false

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
    // The socket was paused after the answer to the request for TLS.
    if (!this.hasSent) this.#socket.resume()
    this.hasSent = true
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
    let at = Math.min(this.#uncheckedBytes, data.length)
    this.#uncheckedBytes -= at
    while (this.#uncheckedBytes === 0 && at < data.length) {
      const message = readMessage(data, at, this.#ready)
      if (message.kind === 'partial') break
      if (message.kind === 'invalid') {
        this.#refuse(protocolError(message.problem))
        return
      }
      if (data[at] === READY_FOR_QUERY) this.#ready = true
      this.#uncheckedBytes = Math.max(0, message.end - data.length)
      at = Math.min(message.end, data.length)
    }
    this.#rest = at === data.length ? EMPTY : data.subarray(at)
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
  /** `end` may lie beyond the bytes that have arrived. */
  | { readonly kind: 'valid'; readonly end: number }
  | { readonly kind: 'partial' }
  | { readonly kind: 'invalid'; readonly problem: string }

/** Checks the message that begins at `at` (PostgreSQL manual, section 54.7): a type, a length, a body. */
function readMessage(data: Buffer, at: number, ready: boolean): Message {
  const type = data[at]!
  if (!(ready ? STATEMENT_TYPES : STARTUP_TYPES).has(type))
    return { kind: 'invalid', problem: `a message of type ${type}, which is not expected there` }
  if (data.length - at < HEADER_BYTES) return { kind: 'partial' }
  const length = data.readUInt32BE(at + 1)
  const checked = !ready || CHECKED_TYPES.has(type)
  if (length < 4 || length > (checked ? MAX_CHECKED_BYTES : MAX_MESSAGE_BYTES))
    return { kind: 'invalid', problem: `a message of ${length} bytes` }
  const end = at + 1 + length
  if (!checked) return { kind: 'valid', end }
  if (data.length < end) return { kind: 'partial' }
  const problem = findBodyProblem(String.fromCharCode(type), data.subarray(at + HEADER_BYTES, end))
  return problem === null ? { kind: 'valid', end } : { kind: 'invalid', problem }
}

function findBodyProblem(type: string, body: Buffer): string | null {
  if (type === 'R') return findAuthenticationProblem(body)
  if (type === 'T') return isRowDescription(body) ? null : 'a malformed description of rows'
  // A notification: a process id, a channel, a payload.
  if (type === 'A')
    return endOfText(body, endOfText(body, 4)) <= body.length ? null : 'a malformed notification'
  return null
}

const COLUMN_BYTES = 18

function isRowDescription(body: Buffer): boolean {
  if (body.length < 2) return false
  let at = 2
  for (let left = body.readUInt16BE(0); left > 0; left--) at = endOfText(body, at) + COLUMN_BYTES
  return at === body.length
}

/** The place behind the text that begins at `from`, and its zero byte; infinity where there is no zero byte. */
function endOfText(body: Buffer, from: number): number {
  const zero = from < body.length ? body.indexOf(0, from) : -1
  return zero === -1 ? Number.POSITIVE_INFINITY : zero + 1
}

/** Why an authentication request cannot be answered; null where it can (PostgreSQL manual, section 54.7). */
function findAuthenticationProblem(body: Buffer): string | null {
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
        : 'an authentication request for another mechanism than SCRAM-SHA-256'
    case 11:
      return isScramChallenge(text) ? null : 'a malformed SCRAM challenge'
    case 12:
      return text.startsWith('v=') ? null : 'a malformed SCRAM signature'
    default:
      return `an authentication request of kind ${kind}; expected a password (MD5 or SCRAM-SHA-256) or none`
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
