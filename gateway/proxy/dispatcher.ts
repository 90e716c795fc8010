import { readFileSync } from 'node:fs'
import type { Socket } from 'node:net'
import { buildConnector, type Dispatcher, Pool } from 'undici'

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
}

export interface TlsOptions {
  readonly caFile?: string | undefined
  readonly certFile?: string | undefined
  readonly keyFile?: string | undefined
  readonly serverName?: string | undefined
}

/** A connection pool to one target. */
export interface TargetConnections {
  readonly dispatcher: Dispatcher
  /** True while a connection is breaking off: an answer that ends in this very turn was cut short. */
  readonly breaking: boolean
}

/**
 * Opens nothing yet; connections are made as exchanges need them and are kept for the next ones.
 *
 * undici takes a reset at the end of an answer without a length for that answer's proper end. The connector
 * here sees the socket's error first and says so through `breaking`, so that a short answer never looks whole.
 */
export function createTargetConnections(options: DispatcherOptions): TargetConnections {
  const { socketPath, origin } = parseTarget(options.url)
  const connect = buildConnector({
    timeout: options.connectMs,
    allowH2: options.http2,
    ...(socketPath === null ? {} : { socketPath }),
    ...tlsFiles(options.tls),
    ...(options.tls?.serverName === undefined ? {} : { servername: options.tls.serverName }),
  })
  const state = { breaking: false }
  const pool = new Pool(origin, {
    connections: options.maxConnections,
    pipelining: options.http2 ? 100 : 1,
    allowH2: options.http2,
    ...(options.http2 && origin.startsWith('http:') ? { useH2c: true } : {}),
    headersTimeout: options.responseMs,
    bodyTimeout: options.idleMs,
    connect(opts, callback) {
      connect(opts, (...result) => {
        const socket = result[1] as Socket | null
        socket?.once('error', () => {
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
    get breaking() {
      return state.breaking
    },
  }
}

/** Splits a target of the routing file into what undici wants; a unix socket is spoken to as `http://localhost`. */
export function parseTarget(url: string): { origin: string; socketPath: string | null; host: string } {
  if (url.startsWith('unix:')) {
    return { origin: 'http://localhost', socketPath: url.slice('unix:'.length), host: 'localhost' }
  }
  const { origin, host } = new URL(url)
  return { origin, socketPath: null, host }
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
