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
  /** The event of a connection that can be written to, its certificate checked. */
  readonly readyEvent: 'connect' | 'secureConnect'
  /**
   * @param reads gets what comes, in place of `data` events; null for those. What goes wrong is the socket's `error`
   */
  connect(reads: SocketReads | null): Socket
}

export interface SocketReads {
  /** All connections may read into the same one: nothing else is read before `callback` has returned. */
  readonly buffer: Buffer
  /** @returns true: goes on reading */
  readonly callback: (bytes: number, buffer: Uint8Array) => boolean
}

/** After this long without a byte the system asks whether the other side is still there (RFC 9293, section 3.8.4). */
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
        // A file that holds no certificate or no key: a fault of each connection, as a target's own would be.
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
      // The name in the certificate is not looked at again where a session is taken up again: only one that was checked
      // is kept. TLS 1.2 has it ready before the check.
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
