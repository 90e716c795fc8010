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
  /** Closes it, at whatever stage it is. */
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
 * Connects, and encrypts before anything else is sent. TLS is not left to postgres.js: it would put TLS on a socket that
 * has been closed already, and its Terminate message then ends the process with an error.
 */
export function dial({ host, tls, lookup }: DialOptions): Dial {
  const raw = openSocket(host, lookup)
  // An error may occur after the caller has given up, and without a listener it would end the process.
  raw.on('error', () => {})
  let outermost: Socket = raw
  const socket = (async () => {
    await waitForEvent(raw, 'connect')
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
    await waitForEvent(encrypted, 'secureConnect')
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

/** Waits for an event of a socket. @throws the socket's error, or `ECONNRESET` where it is closed without an error */
function waitForEvent(socket: Socket | TLSSocket, event: 'connect' | 'secureConnect'): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.once(event, resolve)
    socket.once('error', reject)
    socket.once('close', () => reject(closedEarlyError()))
  })
}

/** Asks whether the server speaks TLS, and reads the one byte of its answer. */
function offersTls(socket: Socket): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const onData = (answer: Buffer) => {
      socket.pause()
      socket.off('data', onData)
      // More unencrypted bytes could have been put in by an attacker in between (CVE-2021-23222).
      if (answer.length === 1 && (answer[0] === 0x53 || answer[0] === 0x4e)) resolve(answer[0] === 0x53)
      else reject(protocolError('the answer to the request for TLS is neither yes nor no'))
    }
    socket.on('data', onData)
    socket.once('error', reject)
    socket.once('close', () => reject(closedEarlyError()))
    socket.write(SSL_REQUEST)
  })
}

/** Each mode decides whether the certificate is checked, and `NODE_TLS_REJECT_UNAUTHORIZED` must not. */
function tlsOptions(tls: DatabaseTls, host: string): ConnectionOptions {
  return {
    rejectUnauthorized: tls.mode === 'verify-ca' || tls.mode === 'verify-full',
    // Without a server name Node would check the certificate for `localhost`.
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

function closedEarlyError(): Error {
  return Object.assign(new Error('the server closed the connection before it was ready'), {
    code: 'ECONNRESET',
  })
}

/** Identifies a session of the server in a cancel request. */
export interface BackendKey {
  readonly pid: number
  readonly secret: number
}

/** After this time a cancel request is useless. */
const CANCEL_REQUEST_TIMEOUT_MS = 60_000

/**
 * Asks the server to cancel the statement of a session (PostgreSQL manual, section 54.2.8), on a connection of its own.
 * A failure is ignored, since the server's own time limits remain.
 *
 * This side never closes the connection first: PgBouncer 1.18 exits when the client of a cancel request goes away
 * before the request was passed on.
 *
 * @returns resolves when the server has received the request, or it could not be sent
 */
export function sendCancelRequest(options: DialOptions, { pid, secret }: BackendKey): Promise<void> {
  const message = Buffer.alloc(16)
  message.writeInt32BE(16, 0)
  message.writeInt32BE(CANCEL_CODE, 4)
  message.writeUInt32BE(pid >>> 0, 8)
  message.writeUInt32BE(secret >>> 0, 12)
  const { socket, abort } = dial(options)
  const timer = setTimeout(abort, CANCEL_REQUEST_TIMEOUT_MS)
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
 * Finds out whether a server answers at an address, by its answer to the request for TLS. No session is begun: the kernel
 * accepts connections for a frozen server, which would have to serve all of them once it goes on.
 */
export function probeServer(options: DialOptions): { readonly answered: Promise<boolean>; abort(): void } {
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
