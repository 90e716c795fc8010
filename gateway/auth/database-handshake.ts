import { EventEmitter } from 'node:events'
import type { Socket } from 'node:net'
import type { DatabaseError } from './database-error.ts'
import { protocolError } from './database-socket.ts'

/** No message before the first `ReadyForQuery` comes near it. */
const MAX_STARTUP_MESSAGE_BYTES = 65_536

/** What a server may ask for that is not worth minutes of the processor's (RFC 5802 recommends 4096). */
const MAX_SCRAM_ITERATIONS = 1_000_000

const AUTHENTICATION = 0x52
const READY_FOR_QUERY = 0x5a

/**
 * The socket as postgres.js gets it. The real one stays with its owner: postgres.js removes all listeners of a socket that
 * has closed, writes to one whose other half is gone, and has promises without a catch for malformed authentication
 * messages. So each message until the connection is ready is looked at first.
 */
export class StartupGuard extends EventEmitter {
  readonly #socket: Socket
  #rest: Buffer = Buffer.alloc(0)
  #closed = false
  /** True once something was sent: from then on the server may hold a session for this connection. */
  hasSpoken = false

  constructor(socket: Socket) {
    super()
    this.#socket = socket
    socket.on('data', this.#onStartupData)
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

  /** Passes whole messages on, each of which was looked at, until the server is ready for the first statement. */
  readonly #onStartupData = (chunk: Buffer): void => {
    const data = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk])
    let at = 0
    let ready = false
    while (!ready) {
      const message = readMessage(data, at)
      if (message.kind === 'partial') break
      if (message.kind === 'invalid') {
        this.#refuse(protocolError(message.problem))
        return
      }
      at = message.end
      ready = message.type === READY_FOR_QUERY
    }
    if (ready) {
      this.#socket.off('data', this.#onStartupData)
      this.#socket.on('data', (later: Buffer) => this.emit('data', later))
      at = data.length
    }
    this.#rest = data.subarray(at)
    if (at > 0) this.emit('data', data.subarray(0, at))
  }

  #refuse(error: DatabaseError): void {
    this.#socket.off('data', this.#onStartupData)
    this.#forwardError(error)
    this.#socket.destroy()
  }

  #forwardError(error: Error): void {
    if (this.listenerCount('error') > 0) this.emit('error', error)
  }
}

type Message =
  | { readonly kind: 'whole'; readonly type: number; readonly end: number }
  | { readonly kind: 'partial' }
  | { readonly kind: 'invalid'; readonly problem: string }

/** Reads the message of a server that begins at a place (PostgreSQL manual, section 54.7): a type, a length, a body. */
function readMessage(data: Buffer, at: number): Message {
  if (data.length - at < 5) return { kind: 'partial' }
  const type = data[at]!
  const length = data.readUInt32BE(at + 1)
  if (length < 4 || length > MAX_STARTUP_MESSAGE_BYTES)
    return { kind: 'invalid', problem: 'a message of no possible length' }
  const end = at + 1 + length
  if (data.length < end) return { kind: 'partial' }
  const problem = type === AUTHENTICATION ? problemOfAuthentication(data.subarray(at + 5, end)) : null
  return problem === null ? { kind: 'whole', type, end } : { kind: 'invalid', problem }
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
