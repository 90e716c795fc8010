import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createAdminGuard } from '../../gateway/admin/admin-guard.ts'
import { createAdminServer } from '../../gateway/admin/admin-server.ts'
import type { Sample } from '../../gateway/admin/history.ts'
import type { RouteStatus, Status, TargetStatus, UpstreamStatus } from '../../gateway/admin/status.ts'
import { loadStatusPage } from '../../gateway/admin/status-page.ts'
import { listening } from '../../gateway/server/listening.ts'

/** The admin listener over a status that the test makes up. */
export interface StatusStage {
  readonly url: string
  readonly port: number
  status: Status
  /** Ends it with all its connections. */
  goAway(): Promise<void>
  /** On the same port. */
  comeBack(): Promise<void>
}

export async function startStatusStage(status: Status): Promise<StatusStage> {
  const page = loadStatusPage()
  const guard = createAdminGuard({ adminHost: '127.0.0.1', instance: 'here', allowedHosts: [] })
  let server: Server
  const open = (port: number) => {
    server = createAdminServer({
      readiness: async () => ({
        ready: stage.status.ready,
        reasons: stage.status.reasons,
        causes: stage.status.causes,
      }),
      scrape: async () => ({ contentType: 'text/plain', body: '' }),
      status: async () => stage.status,
      explain: async () => null,
      page,
      guard,
    })
    return listening(server, port, '127.0.0.1')
  }
  const stage = { status } as { -readonly [Key in keyof StatusStage]: StatusStage[Key] }
  const port = await open(0)
  return Object.assign(stage, {
    port: port ?? (server!.address() as AddressInfo).port,
    url: `http://127.0.0.1:${port}/`,
    async goAway() {
      const closed = new Promise((resolve) => server.close(resolve))
      server.closeAllConnections()
      await closed
    },
    async comeBack() {
      await open(port)
    },
  })
}

export function targetStatus(more: Partial<TargetStatus> = {}): TargetStatus {
  return {
    url: 'http://10.0.0.1:8000',
    state: 'up',
    upIn: 1,
    reason: null,
    ejectedForS: null,
    easedTo: 100,
    weight: 1,
    inFlight: 3,
    ejections: 0,
    ok: 1000,
    errors: 2,
    failed: 1,
    ...more,
  }
}

export function upstreamStatus(more: Partial<UpstreamStatus> = {}): UpstreamStatus {
  return {
    name: 'api',
    balance: 'least-requests',
    pending: 0,
    maxPending: 1024,
    late: 0,
    longestWaitS: 0,
    targets: [targetStatus()],
    ...more,
  }
}

export function routeStatus(more: Partial<RouteStatus> = {}): RouteStatus {
  return {
    route: '/',
    methods: null,
    exact: false,
    auth: 'required',
    upstream: 'api',
    requests: 1000,
    errors: 2,
    p99Ms: 43.21,
    ...more,
  }
}

/** A gateway that is well, with ten minutes behind it. */
export function goodStatus(more: Partial<Status> = {}): Status {
  return {
    ready: true,
    reasons: [],
    causes: [],
    instance: 'gateway-1',
    version: '1.2.3',
    node: 'v26.0.0',
    uptimeS: 4000,
    workers: 1,
    processes: [
      {
        pid: 4711,
        uptimeS: 4000,
        residentBytes: 130_000_000,
        inFlight: 3,
        connections: 20,
        maxConnections: 10_000,
        heldUpMs: 0,
      },
    ],
    problems: [],
    tokenStore: { up: true, code: null, reason: null, lastFailure: null },
    keys: { state: 'current', reason: null },
    certificates: [],
    errorPages: [],
    routing: {
      file: '/etc/poweron-gateway/upstreams.json',
      loadedAt: new Date(Date.now() - 4_000_000).toISOString(),
      readAt: new Date(Date.now() - 4_000_000).toISOString(),
      problems: [],
    },
    routes: [routeStatus()],
    upstreams: [upstreamStatus()],
    openStreams: { websocket: 1, sse: 2, other: 3 },
    totals: {
      requests: 1000,
      errors: 3,
      lookups: 900,
      queries: 300,
      decisions: { authenticated: 900, token_revoked: 10, overloaded: 1 },
      inFlight: 3,
    },
    history: { intervalS: 2, cursor: 'a.300', whole: true, samples: samples() },
    ...more,
  }
}

function samples(): Sample[] {
  return Array.from({ length: 300 }, (_, i) => ({
    at: Date.now() - (299 - i) * 2000,
    requestsPerSecond: 50 + (i % 7),
    errorShare: i % 50 === 0 ? 0.02 : 0,
    p50Ms: 3 + (i % 3),
    p99Ms: 40 + (i % 11),
    lookupsPerQuery: 1.5,
    inFlight: i % 5,
    decisions: { authenticated: 90, token_revoked: i % 2, overloaded: i % 60 === 0 ? 1 : 0 },
  }))
}
