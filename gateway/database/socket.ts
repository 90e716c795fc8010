import { connect, isIP, type LookupFunction, type Socket } from 'node:net'
import { type ConnectionOptions, checkServerIdentity, connect as connectTls, type TLSSocket } from 'node:tls'
import type { DatabaseHost, DatabaseTls } from './address.ts'
import { DatabaseError } from './database-error.ts'

/** A connection to a server that is being made. */
export interface Dial {
  /** The outermost socket, encrypted where the URL asks for it. @throws DatabaseError, or Node's error */
  readonly socket: Promise<Socket>
  /** Bytes that the server has sent so far. */
  readonly bytesRead: number
  /** Gives it up, at whatever stage it is. */
  abort(): void
}

export interface DialOptions {
  readonly host: DatabaseHost
  readonly tls: DatabaseTls
  /** Resolves the host's name; Node's own where absent. */
  readonly lookup?: LookupFunction | undefined
}

/** SSLRequest (PostgreSQL manual, section 54.7). */
const SSL_REQUEST = Buffer.from([0, 0, 0, 8, 4, 210, 22, 47])
const CANCEL_CODE = 80_877_102

/**
 * Connects, and encrypts before anything else is said. Whoever closes the socket closes the outermost one: postgres.js
 * would put TLS on top of a socket that is closed below it, and its farewell then ends the process.
 */
export function dial({ host, tls, lookup }: DialOptions): Dial {
  const raw = openSocket(host, lookup)
  // An error can come at any time, also when nobody waits for the socket any more.
  raw.on('error', () => {})
  let outermost: Socket = raw
  const socket = (async () => {
    await settled(raw, 'connect')
    if (tls.mode === 'disable' || host.host.startsWith('/')) return raw
    if (!tls.direct && !(await offersTls(raw))) {
      if (tls.mode === 'prefer') return raw
      throw new DatabaseError(
        'TLS_UNAVAILABLE',
        'the database server offers no TLS, which sslmode asks for',
        { stale: false },
      )
    }
    const encrypted = connectTls({ socket: raw, ...tlsOptions(tls, host.host) })
    encrypted.on('error', () => {})
    outermost = encrypted
    await settled(encrypted, 'secureConnect')
    return encrypted
  })()
  const abort = () => {
    outermost.destroy()
    raw.destroy()
  }
  socket.catch(abort)
  return {
    socket,
    get bytesRead() {
      return raw.bytesRead
    },
    abort,
  }
}

function openSocket({ host, port }: DatabaseHost, lookup: LookupFunction | undefined): Socket {
  const socket = host.startsWith('/')
    ? connect(`${host}/.s.PGSQL.${port}`)
    : connect({ host, port, ...(lookup === undefined ? {} : { lookup }) })
  socket.setNoDelay(true)
  socket.setKeepAlive(true, 10_000)
  return socket
}

/** Waits for an event of a socket. @throws its error, or `ECONNRESET` where it is closed without one */
function settled(socket: Socket | TLSSocket, event: 'connect' | 'secureConnect'): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.once(event, resolve)
    socket.once('error', reject)
    socket.once('close', () => reject(closedTooEarly()))
  })
}

/** Asks whether the server speaks TLS, and reads the one byte of its answer. */
function offersTls(socket: Socket): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const onData = (answer: Buffer) => {
      socket.pause()
      socket.off('data', onData)
      // More than a byte came unencrypted: somebody in between wants it to be taken for the server's (CVE-2021-23222).
      if (answer.length === 1 && (answer[0] === 0x53 || answer[0] === 0x4e)) resolve(answer[0] === 0x53)
      else reject(protocolError('the answer to the request for TLS is none'))
    }
    socket.on('data', onData)
    socket.once('error', reject)
    socket.once('close', () => reject(closedTooEarly()))
    socket.write(SSL_REQUEST)
  })
}

/** `NODE_TLS_REJECT_UNAUTHORIZED` must not decide: each mode says for itself whether the certificate is checked. */
function tlsOptions(tls: DatabaseTls, host: string): ConnectionOptions {
  return {
    rejectUnauthorized: tls.mode === 'verify-ca' || tls.mode === 'verify-full',
    // Node would check the name of a server that it was not given: `localhost`.
    checkServerIdentity: (_name, certificate) =>
      tls.mode === 'verify-full' ? checkServerIdentity(host, certificate) : undefined,
    ...(isIP(host) === 0 && tls.sendsName ? { servername: host.replace(/\.$/, '') } : {}),
    ...(tls.minVersion === null ? {} : { minVersion: tls.minVersion }),
    ...(tls.maxVersion === null ? {} : { maxVersion: tls.maxVersion }),
    ...(tls.direct ? { ALPNProtocols: ['postgresql'] } : {}),
  }
}

export function protocolError(what: string): DatabaseError {
  return new DatabaseError('PROTOCOL', `the database server does not speak PostgreSQL's protocol: ${what}`, {
    stale: false,
  })
}

function closedTooEarly(): Error {
  return Object.assign(new Error('the server closed the connection before it was ready'), {
    code: 'ECONNRESET',
  })
}

/** What names a session of the server's to a cancel request. */
export interface BackendKey {
  readonly pid: number
  readonly secret: number
}

/** A cancel request that nobody has taken note of by then is of no use any more. */
const CANCEL_REQUEST_MS = 60_000

/**
 * Asks the server to cancel what a session of its is doing (PostgreSQL manual, section 54.2.8), on a connection that is
 * no session. Failures are of no consequence: the server's own time limits remain.
 *
 * The server closes the connection, never this side before it: PgBouncer 1.18 ends where the client of a cancel request
 * that it is still passing on has gone.
 *
 * @returns resolves when the server has taken note of it, or it could not be sent
 */
export function sendCancelRequest(options: DialOptions, { pid, secret }: BackendKey): Promise<void> {
  const message = Buffer.alloc(16)
  message.writeInt32BE(16, 0)
  message.writeInt32BE(CANCEL_CODE, 4)
  message.writeUInt32BE(pid >>> 0, 8)
  message.writeUInt32BE(secret >>> 0, 12)
  const { socket, abort } = dial(options)
  const timer = setTimeout(abort, CANCEL_REQUEST_MS)
  timer.unref()
  const closed = socket.then((connected) => {
    connected.unref()
    connected.resume()
    connected.write(message)
    return new Promise<void>((resolve) => connected.once('close', () => resolve()))
  })
  return closed.catch(() => {}).finally(() => clearTimeout(timer))
}

/**
 * Finds out whether anybody answers at an address, without becoming a session of the server's: one that is frozen
 * accepts connections all the same, and would have to work them all off once it goes on.
 */
export function knock(options: DialOptions): { readonly answered: Promise<boolean>; abort(): void } {
  const { socket, abort } = dial({ ...options, tls: { ...options.tls, mode: 'disable' } })
  const answered = socket
    .then((connected) => offersTls(connected))
    .then(
      () => true,
      (error: unknown) => error instanceof DatabaseError,
    )
    .finally(abort)
  return { answered, abort }
}
