import { randomUUID } from 'node:crypto'
import type { Scheduler } from '../core/scheduler.ts'
import type { PeerTrust } from '../http/forwarded.ts'
import type { Wire } from '../http1/wire.ts'
import type { Gateway } from '../pipeline/gateway.ts'
import type { ConnectionRegistry } from '../server/connection-registry.ts'
import type { Ports } from '../server/ports.ts'
import { createPublicListener, type PublicListener } from '../server/public-listener.ts'
import { type CertificateStore, openCertificates } from '../server/tls/certificate-store.ts'
import { createTlsTermination, rotateTicketKeys, type TlsTermination } from '../server/tls/tls.ts'
import type { Settings } from '../settings/values.ts'
import type { Logger } from '../telemetry/logging/logger.ts'
import type { Metrics } from '../telemetry/metrics/metrics.ts'
import type { PublicPort } from './https-policy.ts'

/** The listeners towards clients, and the certificates. */
export interface Listeners {
  readonly all: readonly PublicListener[]
  /** Null without TLS. */
  readonly certificates: Pick<CertificateStore, 'all' | 'faults'> | null
  /** @throws a listener's error, such as EADDRINUSE */
  listen(): Promise<Ports>
  stop(): void
}

export interface ListenersParts {
  readonly settings: Settings
  readonly gateway: Gateway
  readonly connections: ConnectionRegistry
  /** Reads HTTP/1.1: one for a process. */
  readonly wire: Wire
  /** Gets the port once it is open. */
  readonly port: PublicPort
  readonly hsts: string | null
  readonly peers: PeerTrust
  readonly metrics: Metrics
  readonly log: Logger
  readonly scheduler: Scheduler
}

/** @throws CertificateError where one cannot be used */
export function createListeners(parts: ListenersParts): Listeners {
  const { settings, gateway, log, scheduler, port } = parts
  const onRefused = (peer: string, reason: string) =>
    log.warn({ peer, reason }, 'a trusted peer sent no valid PROXY protocol header')
  const options = {
    ...settings,
    hsts: parts.hsts,
    requestId: randomUUID,
    wire: parts.wire,
    scheduler,
    wallClock: Date.now,
    connections: parts.connections,
    proxyProtocol: settings.proxyProtocol ? { peers: parts.peers, onRefused } : null,
    connectionCounts: parts.metrics.clientConnections,
    onFull() {
      log.warn({ maxConnections: settings.maxConnections }, 'new clients are turned away at MAX_CONNECTIONS')
    },
  }
  const tls = openTls(parts)
  const listener = createPublicListener(gateway, { ...options, tls: tls?.termination ?? null })
  const redirecting =
    settings.httpRedirectPort === null
      ? null
      : createPublicListener(redirectingGateway(gateway), { ...options, tls: null })

  return {
    certificates: tls?.certificates ?? null,
    all: redirecting === null ? [listener] : [listener, redirecting],
    async listen() {
      port.current = await listener.listen(settings.port, settings.host)
      if (redirecting === null) return { port: port.current, redirectPort: null }
      const redirectPort = await redirecting.listen(settings.httpRedirectPort!, settings.host)
      return { port: port.current, redirectPort }
    },
    stop() {
      tls?.stop()
    },
  }
}

function redirectingGateway(gateway: Gateway): Gateway {
  return {
    ...gateway,
    handle: (request, response, arrival) =>
      gateway.handle(request, response, { ...arrival, onRedirectListener: true }),
  }
}

/** @returns null where no certificate is configured */
function openTls({ settings, log, scheduler }: ListenersParts): {
  readonly termination: TlsTermination
  readonly certificates: CertificateStore
  stop(): void
} | null {
  const { tlsCertFile, tlsKeyFile, tlsCertDir } = settings
  const pair =
    tlsCertFile === null || tlsKeyFile === null ? null : { certFile: tlsCertFile, keyFile: tlsKeyFile }
  if (pair === null && tlsCertDir === null) return null
  const termination = createTlsTermination(settings.headersTimeoutMs)
  const certificates = openCertificates({
    source: { pair, folder: tlsCertDir },
    scheduler,
    wallClock: Date.now,
    log,
    onChange: termination.useCertificates,
  })
  termination.useCertificates(certificates)
  const stopTickets = rotateTicketKeys(termination.server, {
    secret: settings.tlsTicketSecret,
    scheduler,
    wallClock: Date.now,
  })
  return {
    termination,
    certificates,
    stop() {
      certificates.stop()
      stopTickets()
    },
  }
}
