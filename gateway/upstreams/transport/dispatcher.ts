import { readFileSync } from 'node:fs'
import { isIP, type LookupFunction, type Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import { MAX_ADDRESSES_MS } from '../../names/address-cache.ts'
import { createHttp2Connection, type TargetDispatcher } from './http2-connection.ts'
import { buildConnector, Pool } from './undici.ts'

/** How connections to one target are made. Times in milliseconds. */
export interface DispatcherOptions {
  /** `http://host:port`, `https://host:port` or `unix:/path`. */
  readonly url: string
  readonly connectMs: number
  readonly responseMs: number
  readonly idleMs: number
  readonly maxConnections: number
  readonly http2: boolean
  readonly tls: TlsOptions | null
  /** How names become addresses. */
  readonly lookup: LookupFunction
}

export interface TlsOptions {
  readonly caFile?: string | undefined
  readonly certFile?: string | undefined
  readonly keyFile?: string | undefined
  readonly serverName?: string | undefined
}

/** A connection pool to one target. */
export interface TargetConnections {
  readonly dispatcher: TargetDispatcher
  /**
   * To be given with every exchange over TLS: undici would else take the name that a certificate must be for
   * from the request's `Host`, which is the client's word.
   */
  readonly servername: string | null
  /** True while a connection is breaking off: an answer that ends in this same tick was cut short. */
  readonly breaking: boolean
  /** Each exchange on a connection of its own, made for it. */
  readonly fresh: TargetConnections
  /** True for the error of a connection that had carried an answer before it broke. */
  hadAnswered(error: unknown): boolean
  /** Lets exchanges finish, then closes the connections. */
  close(): Promise<void>
}

/**
 * Opens nothing yet; connections are made as exchanges need them and are kept for the next ones.
 *
 * undici takes a reset at the end of an answer without a length for that answer's proper end. The connector
 * here sees the socket's error first and sets `breaking`, so that a short answer never looks whole.
 */
export function createTargetConnections(options: DispatcherOptions): TargetConnections {
  const connect = createConnector(options)
  return options.http2 ? createHttp2(options, connect) : createPool(options, connect, true)
}

type Connector = ReturnType<typeof buildConnector>

function createPool(options: DispatcherOptions, connect: Connector, keepAlive: boolean): TargetConnections {
  const { origin, hostname } = parseTargetAddress(options.url)
  const state = { breaking: false }
  const answered = new WeakSet<Error>()
  let fresh: TargetConnections | null = null
  const pool = new Pool(origin, {
    connections: options.maxConnections,
    // With 0 undici keeps no connection for a second exchange.
    pipelining: keepAlive ? 1 : 0,
    allowH2: false,
    // A name's connections are made anew as often as its addresses are, or they would stay with the old ones.
    ...(hostname === null || isIP(hostname) !== 0 ? {} : { clientTtl: MAX_ADDRESSES_MS }),
    headersTimeout: options.responseMs,
    bodyTimeout: options.idleMs,
    connect(opts, callback) {
      connect(opts, (...result) => {
        const socket = result[1] as Socket | null
        socket?.once('error', (error) => {
          if (socket.bytesRead > 0) answered.add(error)
          state.breaking = true
          queueMicrotask(() => {
            state.breaking = false
          })
        })
        callback(...result)
      })
    },
  })
  return {
    dispatcher: pool,
    servername: origin.startsWith('https:') ? (options.tls?.serverName ?? hostname) : null,
    get breaking() {
      return state.breaking
    },
    get fresh() {
      fresh ??= createPool(options, connect, false)
      return fresh
    },
    hadAnswered: (error) => error instanceof Error && answered.has(error),
    async close() {
      await Promise.all([pool.close(), fresh?.close()])
    },
  }
}

function createHttp2(options: DispatcherOptions, connect: Connector): TargetConnections {
  const { origin, host, hostname } = parseTargetAddress(options.url)
  const { protocol, port } = new URL(origin)
  const dispatcher = createHttp2Connection({
    origin,
    responseMs: options.responseMs,
    idleMs: options.idleMs,
    maxAgeMs: hostname === null || isIP(hostname) !== 0 ? Number.POSITIVE_INFINITY : MAX_ADDRESSES_MS,
    connect: () =>
      new Promise((resolve, reject) => {
        const to = { origin, host, hostname: hostname ?? host, protocol, port }
        connect(to as Parameters<Connector>[0], (error, socket) => {
          if (error !== null) reject(error)
          else if (protocol === 'https:' && (socket as TLSSocket).alpnProtocol !== 'h2') {
            socket.destroy()
            reject(Object.assign(new Error('the target does not offer HTTP/2'), { code: 'NO_HTTP2' }))
          } else resolve(socket)
        })
      }),
  })
  const connections: TargetConnections = {
    dispatcher,
    servername: null,
    breaking: false,
    get fresh() {
      return connections
    },
    hadAnswered: () => false,
    close: () => dispatcher.close(),
  }
  return connections
}

const READ_BYTES = 65_536

/**
 * Reads into one buffer and copies what came. Node would make a buffer of 64 KiB for each read and cut it to size: 4% of
 * what a proxy of two sockets costs at all.
 */
function readInto(buffer: Buffer) {
  return {
    buffer,
    callback(this: Socket, bytes: number): boolean {
      const piece = Buffer.allocUnsafe(bytes)
      buffer.copy(piece, 0, 0, bytes)
      return this.push(piece)
    },
  }
}

function createConnector(options: DispatcherOptions): Connector {
  const { socketPath, origin } = parseTargetAddress(options.url)
  const servername = serverNameOf(options.url, options.tls)
  const connect = buildConnector({
    timeout: options.connectMs,
    allowH2: options.http2,
    preferH2: options.http2,
    ...(socketPath === null ? {} : { socketPath }),
    lookup: options.lookup,
    // Explicit, because NODE_TLS_REJECT_UNAUTHORIZED=0 would otherwise switch the check of the certificate off.
    rejectUnauthorized: true,
    ...(origin.startsWith('http:') && !options.http2
      ? { onread: readInto(Buffer.allocUnsafeSlow(READ_BYTES)) }
      : {}),
    ...tlsFiles(options.tls),
  } as Parameters<typeof buildConnector>[0])
  // The certificate is checked against the target's name, whatever name the exchange brought.
  return (opts, callback) => connect({ ...opts, servername } as Parameters<Connector>[0], callback)
}

/** Splits a target of the routing file into what undici wants; a unix socket is spoken to as `http://localhost`. */
export function parseTargetAddress(url: string): TargetAddress {
  if (url.startsWith('unix:')) {
    const socketPath = url.slice('unix:'.length)
    return { origin: 'http://localhost', socketPath, host: 'localhost', hostname: null }
  }
  const { origin, host, hostname } = new URL(url)
  return { origin, socketPath: null, host, hostname: hostname.replace(/^\[|\]$/g, '') }
}

/**
 * The name that a target's certificate must be for; empty where its address has to stand in it. Never the request's
 * `Host`, which is the client's word.
 */
export function serverNameOf(url: string, tls: TlsOptions | null): string {
  const { hostname } = parseTargetAddress(url)
  const named = hostname !== null && isIP(hostname) === 0
  return tls?.serverName ?? (named ? hostname : '')
}

export interface TargetAddress {
  readonly origin: string
  readonly socketPath: string | null
  /** What `Host` is towards it. */
  readonly host: string
  /** Name or address, without brackets; null for a unix socket. */
  readonly hostname: string | null
}

/** @throws the file system's error where a file cannot be read */
export function tlsFiles(tls: TlsOptions | null): { ca?: Buffer; cert?: Buffer; key?: Buffer } {
  if (tls === null) return {}
  return {
    ...(tls.caFile === undefined ? {} : { ca: readFileSync(tls.caFile) }),
    ...(tls.certFile === undefined ? {} : { cert: readFileSync(tls.certFile) }),
    ...(tls.keyFile === undefined ? {} : { key: readFileSync(tls.keyFile) }),
  }
}
