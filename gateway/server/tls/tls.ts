import { constants, hkdfSync, randomBytes } from 'node:crypto'
import type { Socket } from 'node:net'
import {
  createServer,
  type SecureContextOptions,
  type TLSSocket,
  type TlsOptions,
  type Server as TlsServer,
} from 'node:tls'
import type { Scheduler } from '../../core/scheduler.ts'
import type { ConnectionStage } from '../connection-stages.ts'
import type { CertificateStore } from './certificate-store.ts'

/**
 * TLS 1.2 only with forward secrecy and AEAD (RFC 9325, section 4.2), which are also those that HTTP/2 allows
 * (RFC 9113, section 9.2.2). The client's order decides: a phone knows whether it is quicker at ChaCha20.
 */
const CIPHERS = [
  'TLS_AES_128_GCM_SHA256',
  'TLS_AES_256_GCM_SHA384',
  'TLS_CHACHA20_POLY1305_SHA256',
  'ECDHE-ECDSA-AES128-GCM-SHA256',
  'ECDHE-RSA-AES128-GCM-SHA256',
  'ECDHE-ECDSA-AES256-GCM-SHA384',
  'ECDHE-RSA-AES256-GCM-SHA384',
  'ECDHE-ECDSA-CHACHA20-POLY1305',
  'ECDHE-RSA-CHACHA20-POLY1305',
].join(':')

/** Seconds for which a session may be resumed, and for which a ticket key is in use. */
const TICKETS_S = 12 * 3600

/** What all contexts of the listener have in common; replacing one must not change it. */
const COMMON = {
  minVersion: 'TLSv1.2',
  ciphers: CIPHERS,
  honorCipherOrder: false,
  secureOptions: constants.SSL_OP_NO_RENEGOTIATION,
  // The same in every process: a session of one is resumed by the others.
  sessionIdContext: 'poweron-gateway',
  sessionTimeout: TICKETS_S,
} as const satisfies SecureContextOptions & TlsOptions

/** TLS towards clients: HTTP/2 or HTTP/1.1 by ALPN (RFC 7301), certificates by SNI. */
export interface TlsTermination {
  /** Does handshakes for connections that are given to it; it listens at no port of its own. */
  readonly server: TlsServer
  /** Serves new connections with these certificates; open ones keep what they have. Must be called before the first. */
  useCertificates(certificates: CertificateStore): void
}

/** @param handshakeTimeout milliseconds */
export function createTlsTermination(handshakeTimeout: number): TlsTermination {
  let inForce: CertificateStore | null = null
  const server = createServer({
    ...COMMON,
    handshakeTimeout,
    // One that offers none of them is refused (RFC 7301, section 3.2).
    ALPNProtocols: ['h2', 'http/1.1', 'http/1.0'],
    SNICallback: (host, done) => done(null, inForce?.contextFor(host)),
  })
  return {
    server,
    useCertificates(certificates) {
      inForce = certificates
      const { cert, key } = certificates.fallback
      const ticketKeys = server.getTicketKeys()
      server.setSecureContext({ ...COMMON, cert, key })
      server.setTicketKeys(ticketKeys)
    },
  }
}

export interface HandshakeEvents {
  /** A handshake has made a secure connection of another, the carrier. */
  readonly onSecured: (secure: TLSSocket, carrier: Socket) => void
  readonly onFailed: () => void
}

/** The stage that does the handshake. */
export function terminateTls(
  { server }: TlsTermination,
  { onSecured, onFailed }: HandshakeEvents,
): ConnectionStage {
  return (next) => {
    server.on('secureConnection', (secure) => {
      const carrier = carrierOf(secure)
      // Whoever it is from: without the carrier nobody knows.
      if (carrier === null) secure.destroy()
      else {
        onSecured(secure, carrier)
        next(secure)
      }
    })
    server.on('tlsClientError', (_error, socket) => {
      onFailed()
      // A client whose handshake is not done cannot be sent an answer.
      socket.destroy()
    })
    return (socket) => server.emit('connection', socket)
  }
}

/** The connection that a secure one is carried by. Node documents no way to learn it. */
function carrierOf(secure: TLSSocket): Socket | null {
  return (secure as { readonly _parent?: Socket })._parent ?? null
}

export interface TicketParts {
  /** Shared by all instances that serve the same clients; null for one that only this process knows. */
  readonly secret: string | null
  readonly scheduler: Scheduler
  /** Epoch milliseconds. */
  readonly wallClock: () => number
}

/** How often the clock is checked. */
const TICK_MS = 60_000

/**
 * Encrypts session tickets (RFC 5077; RFC 8446, section 4.6.1) by keys that follow from the secret and the time, so
 * that all who have the secret can resume each other's sessions, and a key is thrown away after twelve hours.
 *
 * @returns stops it
 */
export function rotateTicketKeys(
  server: TlsServer,
  { secret, scheduler, wallClock }: TicketParts,
): () => void {
  const seed = secret ?? randomBytes(48)
  let period = Number.NaN
  let cancel = () => {}
  function rotate(): void {
    const now = Math.floor(wallClock() / 1000 / TICKETS_S)
    if (now !== period)
      server.setTicketKeys(Buffer.from(hkdfSync('sha256', seed, '', `tls tickets ${now}`, 48)))
    period = now
    cancel = scheduler.after(TICK_MS, rotate)
  }
  rotate()
  return () => cancel()
}
