import { connect as connectTcp, type LookupFunction, Socket } from 'node:net'
import { connect as connectTls, createSecureContext, type SecureContext } from 'node:tls'
import { serverNameOf, type TargetAddress, type TlsOptions, tlsFiles } from './target-address.ts'

export interface ConnectorOptions {
  readonly address: TargetAddress
  readonly tls: TlsOptions | null
  /** How names become addresses. */
  readonly lookup: LookupFunction
  /** What is offered over TLS (RFC 7301). */
  readonly protocols: readonly string[]
}

/** Opens connections to one target. */
export interface Connector {
  /** The socket's event for an open connection whose certificate was checked. */
  readonly readyEvent: 'connect' | 'secureConnect'
  /**
   * Failures are the socket's `error` events.
   *
   * @param reads gets what is read, in place of `data` events; null for `data` events
   */
  connect(reads: SocketReads | null): Socket
}

export interface SocketReads {
  /** May be the same for all connections, because none reads before `callback` has returned. */
  readonly buffer: Buffer
  /** @returns true: goes on reading */
  readonly callback: (bytes: number, buffer: Uint8Array) => boolean
}

/** After this long without a byte the system probes whether the other side is still there (RFC 9293, section 3.8.4). */
export const TCP_KEEP_ALIVE_MS = 30_000

/** Bytes that wait to be written, from which on a writer is asked to wait. */
const HIGH_WATER_MARK = 65_536

/** @throws the file system's error where a TLS file cannot be read */
export function createConnector(options: ConnectorOptions): Connector {
  const { address } = options
  const { socketPath, hostname, port } = address
  const to = {
    ...(socketPath === null ? { host: hostname!, port, lookup: options.lookup } : { path: socketPath }),
    noDelay: true,
    keepAlive: true,
    keepAliveInitialDelay: TCP_KEEP_ALIVE_MS,
    highWaterMark: HIGH_WATER_MARK,
  }
  if (!address.secure) {
    return {
      readyEvent: 'connect',
      connect: (reads) => connectTcp(reads === null ? to : { ...to, onread: reads }),
    }
  }
  const files = tlsFiles(options.tls)
  const servername = serverNameOf(address, options.tls)
  let secureContext: SecureContext | null = null
  let session: Buffer | undefined
  return {
    readyEvent: 'secureConnect',
    connect(reads) {
      try {
        secureContext ??= createSecureContext(files)
      } catch (error) {
        // A file without a usable certificate or key is a failure of each connection, like a fault of the target.
        return new Socket().destroy(error as Error)
      }
      const socket = connectTls({
        ...to,
        ...(reads === null ? {} : { onread: reads }),
        secureContext,
        servername,
        // Written out, because NODE_TLS_REJECT_UNAUTHORIZED=0 would else switch the check of the certificate off.
        rejectUnauthorized: true,
        ALPNProtocols: [...options.protocols],
        session,
      })
      // The name in the certificate is not checked where a session is resumed, so only a session of a connection that
      // was checked is kept. With TLS 1.2 the session is there before the check.
      let unchecked: Buffer | undefined
      socket.on('session', (made) => {
        if (socket.authorized) session = made
        else unchecked = made
      })
      socket.once('secureConnect', () => {
        session = unchecked ?? session
      })
      return socket
    },
  }
}
