import { readFileSync } from 'node:fs'
import { isIP } from 'node:net'

export interface TlsOptions {
  readonly caFile?: string | undefined
  readonly certFile?: string | undefined
  readonly keyFile?: string | undefined
  readonly serverName?: string | undefined
}

export interface TargetAddress {
  readonly origin: string
  readonly secure: boolean
  /** Path of a unix socket; null for TCP. */
  readonly socketPath: string | null
  /** What `Host` is towards it. */
  readonly host: string
  /** Name or address, without brackets; null for a unix socket. */
  readonly hostname: string | null
  readonly port: number
}

/**
 * Reads a target of the routing file. A unix socket is spoken to as `http://localhost`.
 *
 * @param url `http://host:port`, `https://host:port` or `unix:/path`
 */
export function parseTargetAddress(url: string): TargetAddress {
  if (url.startsWith('unix:')) {
    return {
      origin: 'http://localhost',
      secure: false,
      socketPath: url.slice('unix:'.length),
      host: 'localhost',
      hostname: null,
      port: 0,
    }
  }
  const { origin, protocol, host, hostname, port } = new URL(url)
  const secure = protocol === 'https:'
  return {
    origin,
    secure,
    socketPath: null,
    host,
    hostname: hostname.replace(/^\[|\]$/g, ''),
    port: port === '' ? (secure ? 443 : 80) : Number(port),
  }
}

/** True where the target is given by a name, whose addresses may change. */
export function hasName({ hostname }: TargetAddress): boolean {
  return hostname !== null && isIP(hostname) === 0
}

/**
 * The name that a target's certificate must be for, and that TLS asks for: without a dot at the end (RFC 6066, section
 * 3). Empty where its address has to stand in the certificate. Never the request's `Host`, which the client chooses.
 */
export function serverNameOf(address: TargetAddress, tls: TlsOptions | null): string {
  const name = tls?.serverName ?? (hasName(address) ? address.hostname! : '')
  return name.replace(/\.$/, '')
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
