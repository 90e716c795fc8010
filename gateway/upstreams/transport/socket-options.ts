import type { IpcNetConnectOpts, TcpNetConnectOpts } from 'node:net'

/** Where a connection puts what it reads, in place of `data` events. */
export interface SocketReads {
  /** May be the same for all connections, because none reads before `callback` has returned. */
  readonly buffer: Buffer
  /** @returns true: goes on reading */
  readonly callback: (bytes: number, buffer: Uint8Array) => boolean
}

/** An address and a port, or a path, with the options of the socket. */
export type SocketDestination = TcpNetConnectOpts | IpcNetConnectOpts

/** After this long without a byte the system probes whether the other side is still there (RFC 9293, section 3.8.4). */
export const TCP_KEEP_ALIVE_MS = 30_000

/** Bytes that wait to be written, from which on a writer is asked to wait. */
const HIGH_WATER_MARK = 65_536

/** Of every socket to a target. */
export const SOCKET_OPTIONS = {
  noDelay: true,
  keepAlive: true,
  keepAliveInitialDelay: TCP_KEEP_ALIVE_MS,
  highWaterMark: HIGH_WATER_MARK,
}
