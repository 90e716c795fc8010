import { randomUUID } from 'node:crypto'
import type { Server } from 'node:http'
import type { Server as TlsServer } from 'node:tls'
import type { Scheduler } from '../core/scheduler.ts'
import type { PeerTrust } from '../http/forwarded.ts'
import { parseHost } from '../http/host.ts'
import type { RequestTarget } from '../pipeline/admission.ts'
import type { Gateway } from '../pipeline/gateway.ts'
import { listening } from '../server/listening.ts'
import type { Ports } from '../server/ports.ts'
import { createPublicServer } from '../server/public-listener.ts'
import { type CertificateStore, openCertificates } from '../server/tls/certificate-store.ts'
import { rotateTicketKeys, tlsOptions, useCertificates } from '../server/tls/tls.ts'
import type { Settings } from '../settings/values.ts'
import type { Logger } from '../telemetry/logging/logger.ts'
import type { Metrics } from '../telemetry/metrics/metrics.ts'

/** The listeners towards clients, and the certificates. */
export interface Front {
  readonly servers: readonly Server[]
  /** @throws a listener's error, such as EADDRINUSE */
  listen(): Promise<Ports>
  /** Where what was asked for in plain HTTP is to be had. */
  secureUrl(target: Pick<RequestTarget, 'host' | 'hostname' | 'raw'>): string
  stop(): void
}

export interface FrontParts {
  readonly settings: Settings
  readonly gateway: Gateway
  readonly hsts: string | null
  readonly peers: PeerTrust
  readonly metrics: Metrics
  readonly log: Logger
  readonly scheduler: Scheduler
}

/** @throws CertificateError where one cannot be used */
export function createFront(parts: FrontParts): Front {
  const { settings, gateway, log, scheduler } = parts
  const certificates = openAll(parts, (store) => useCertificates(server as TlsServer, store))
  const onRefused = (peer: string, reason: string) =>
    log.warn({ peer, reason }, 'a trusted peer sent no good header of the PROXY protocol')
  const options = {
    ...settings,
    hsts: parts.hsts,
    requestId: randomUUID,
    scheduler,
    proxyProtocol: settings.proxyProtocol ? { peers: parts.peers, onRefused } : null,
    connectionCounts: parts.metrics.clientConnections,
    onFull() {
      log.warn({ maxConnections: settings.maxConnections }, 'new clients are turned away at MAX_CONNECTIONS')
    },
  }
  const tls = certificates === null ? null : tlsOptions(certificates)
  const server = createPublicServer(gateway, { ...options, tls })
  const stopTickets =
    certificates === null
      ? () => {}
      : rotateTicketKeys(server as TlsServer, {
          secret: settings.tlsTicketSecret,
          scheduler,
          wallClock: Date.now,
        })
  const redirecting =
    settings.httpRedirectPort === null
      ? null
      : createPublicServer(
          {
            ...gateway,
            handle: (req, res, arrival) => gateway.handle(req, res, { ...arrival, insecure: true }),
          },
          { ...options, tls: null },
        )
  let port = settings.port

  return {
    servers: redirecting === null ? [server] : [server, redirecting],
    async listen() {
      port = await listening(server, settings.port, settings.host)
      if (redirecting === null) return { port, redirectPort: null }
      return { port, redirectPort: await listening(redirecting, settings.httpRedirectPort!, settings.host) }
    },
    secureUrl({ host, hostname, raw }) {
      const asked = parseHost(host)
      // A client that names no port has come by 80, so that 443 leads here too, whatever the ports are behind it.
      const direct = asked.kind === 'ok' && asked.port !== '' ? port : 443
      const to = settings.httpRedirectToPort ?? direct
      return `https://${hostname}${to === 443 ? '' : `:${to}`}${raw}`
    },
    stop() {
      certificates?.stop()
      stopTickets()
    },
  }
}

/** `Strict-Transport-Security` (RFC 6797, section 6.1), or null where it is off. */
export function hstsOf(settings: Settings): string | null {
  if (settings.hstsMaxAgeS === 0) return null
  const subdomains = settings.hstsIncludeSubdomains ? '; includeSubDomains' : ''
  return `max-age=${settings.hstsMaxAgeS}${subdomains}${settings.hstsPreload ? '; preload' : ''}`
}

function openAll(
  { settings, metrics, log, scheduler }: FrontParts,
  use: (store: CertificateStore) => void,
): CertificateStore | null {
  const { tlsCertFile, tlsKeyFile, tlsCertDir } = settings
  const pair =
    tlsCertFile === null || tlsKeyFile === null ? null : { certFile: tlsCertFile, keyFile: tlsKeyFile }
  if (pair === null && tlsCertDir === null) return null
  const store = openCertificates({
    source: { pair, folder: tlsCertDir },
    scheduler,
    wallClock: Date.now,
    log,
    onChange(changed) {
      use(changed)
      tell(changed)
    },
  })
  const tell = metrics.certificates()
  tell(store)
  return store
}
