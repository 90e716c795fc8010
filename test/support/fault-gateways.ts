import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Test } from 'tap'
import { createAuthority } from './certificates.ts'
import { PASSWORD } from './fault-data.ts'
import { startWatchedGateway, type WatchedGateway } from './process-watch.ts'

/** How a gateway speaks with its database, and of how many processes it is. */
export interface GatewayKind {
  /** The role that it connects as: a name of its own, by which its connections are told from those of others. */
  readonly role: string
  readonly sslmode: 'disable' | 'require' | 'verify-full'
  readonly workers: 1 | 2
  /** Nobody asks it anything but whether it is ready. */
  readonly idle?: boolean
  /** What it is told, where that is not the database's own URL. */
  readonly urlOf?: (databaseUrl: string) => string
  readonly env?: Readonly<Record<string, string>>
}

/** Each way of encryption and each number of workers once; all ways with both would take twice as long. */
export const COVERING_KINDS: readonly GatewayKind[] = [
  { role: 'app_plain', sslmode: 'disable', workers: 1 },
  { role: 'app_require', sslmode: 'require', workers: 2 },
  { role: 'app_verify', sslmode: 'verify-full', workers: 1 },
]

export interface FaultGateway extends WatchedGateway {
  readonly kind: GatewayKind
}

export const LOOKUP_TIMEOUT_MS = 500

/** A certificate for the database servers of a test file, and the authority's file that a gateway trusts. */
export function databaseCertificate(t: Test) {
  const authority = createAuthority(t, 'database authority')
  const tls = authority.issue('database', ['IP:127.0.0.1', 'DNS:localhost'])
  return { tls, trust: { NODE_EXTRA_CA_CERTS: authority.certFile } }
}

/** A backend that answers with the user's id. */
export async function startUserBackend(): Promise<{ readonly url: string; close(): void }> {
  const backend = createServer((req, res) => res.end(String(req.headers['x-user-id'])))
  await new Promise<void>((resolve) => backend.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(backend.address() as AddressInfo).port}`,
    close() {
      backend.closeAllConnections()
      backend.close()
    },
  }
}

export interface FaultGatewayOptions {
  /** Of the superuser. */
  readonly databaseUrl: string
  readonly target: string
  readonly env: Readonly<Record<string, string>>
}

async function startFaultGateway(
  kind: GatewayKind,
  { databaseUrl, target, env }: FaultGatewayOptions,
): Promise<FaultGateway> {
  const url = new URL(databaseUrl.replace('//gateway@', `//${kind.role}:${encodeURIComponent(PASSWORD)}@`))
  url.searchParams.set('sslmode', kind.sslmode)
  const gateway = await startWatchedGateway({
    databaseUrl: (kind.urlOf ?? ((same) => same))(url.href),
    routing: { upstreams: { app: { targets: [target] } }, routes: [{ path: '/', upstream: 'app' }] },
    env: {
      ACCESS_LOG: 'off',
      LOOKUP_TIMEOUT_MS: String(LOOKUP_TIMEOUT_MS),
      SESSION_ENDPOINTS: 'on',
      WORKERS: String(kind.workers),
      ...env,
      ...kind.env,
    },
  })
  return Object.assign(gateway, { kind })
}

/**
 * One of each kind. Where one of them cannot be started none is left running, nor what `onFailure` closes: a file that
 * throws before its first test has no teardown.
 */
export async function startFaultGateways(
  kinds: readonly GatewayKind[],
  options: FaultGatewayOptions,
  onFailure: () => unknown,
): Promise<FaultGateway[]> {
  const started = await Promise.allSettled(kinds.map((kind) => startFaultGateway(kind, options)))
  const failed = started.find((each) => each.status === 'rejected')
  const gateways = started.flatMap((each) => (each.status === 'fulfilled' ? [each.value] : []))
  if (failed === undefined) return gateways
  await Promise.all(gateways.map((gateway) => gateway.stop()))
  await onFailure()
  throw failed.reason
}
