import { once } from 'node:events'
import { createServer, type Http2Server } from 'node:http2'
import type { AddressInfo } from 'node:net'
import type { Test } from 'tap'
import { startGateway, type TestGateway } from './gateway.ts'
import { SWITCHED, WEBSOCKET_KEY } from './handshake.ts'
import { ask } from './http-client.ts'
import type { NameRecord } from './name-server.ts'
import { NO_DATABASE } from './plain-gateway.ts'
import { type RawRequest, startRawBackend } from './raw-backend.ts'
import { rawRequest } from './raw-http.ts'
import { type ResolverStage, startResolverStage } from './resolver-stage.ts'

/** How a gateway speaks to a target that it knows by a name. */
export const KINDS = ['http1', 'http2', 'websocket', 'checked'] as const
export type Kind = (typeof KINDS)[number]

export interface NamedTarget {
  readonly kind: Kind
  readonly name: string
  /** At 127.0.0.1; 0 for a free one. */
  readonly port: number
}

export interface NamedTargets {
  readonly gateway: TestGateway
  readonly stage: ResolverStage
  /** Sends a request, or a handshake, to a target. @returns the status of its answer, and how long it took */
  visit(target: NamedTarget): Promise<{ readonly status: number; readonly ms: number }>
}

export interface NamedTargetsOptions {
  readonly records: Readonly<Record<string, NameRecord>>
  readonly targets: readonly NamedTarget[]
}

/** Answers that succeed. */
export const SUCCESS: Readonly<Record<Kind, number>> = {
  http1: 200,
  http2: 200,
  websocket: 101,
  checked: 200,
}

const HANDSHAKE = (path: string) =>
  `GET ${path} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
  `Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${WEBSOCKET_KEY}\r\n\r\n`

/** A gateway whose targets are names, which it asks dnsmasq for. No connection to a target is used twice. */
export async function startNamedTargets(
  t: Test,
  { records, targets }: NamedTargetsOptions,
): Promise<NamedTargets> {
  const stage = await startResolverStage(t, { records, behindDnsmasq: true })
  const health = { path: '/healthz', interval: '250ms', timeout: '2s', unhealthyAfter: 1 }
  const upstreams = await Promise.all(
    targets.map(async ({ kind, name, port }, n) => {
      const bound = await (kind === 'http2' ? startHttp2(t, port) : startHttp1(t, port))
      const own = kind === 'http2' ? { protocol: 'http2' } : kind === 'checked' ? { health } : {}
      return [`target${n}`, { targets: [`http://${name}:${bound}`], retries: 0, ...own }] as const
    }),
  )
  const gateway = await startGateway({
    databaseUrl: NO_DATABASE,
    program: stage.program,
    env: { ACCESS_LOG: 'off' },
    routing: {
      upstreams: Object.fromEntries(upstreams),
      routes: upstreams.map(([upstream]) => ({ path: `/${upstream}`, upstream, auth: 'none' })),
    },
  })
  t.teardown(() => gateway.stop())
  return {
    gateway,
    stage,
    async visit(target) {
      const path = `/target${targets.indexOf(target)}`
      const began = performance.now()
      const status =
        target.kind === 'websocket'
          ? (await rawRequest(gateway.port, HANDSHAKE(path))).responses[0]?.status
          : (await ask({ url: gateway.url + path })).status
      return { status: status ?? 0, ms: performance.now() - began }
    },
  }
}

async function startHttp1(t: Test, port: number): Promise<number> {
  const backend = await startRawBackend(answer, { port })
  t.teardown(() => backend.close())
  return backend.port
}

function answer({ head, socket }: RawRequest): void {
  if (/^upgrade:/im.test(head)) socket.end(SWITCHED)
  else socket.end('HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok')
}

async function startHttp2(t: Test, port: number): Promise<number> {
  const server: Http2Server = createServer((_request, response) => {
    response.end('ok')
    response.stream.session?.close()
  })
  server.listen(port, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  return (server.address() as AddressInfo).port
}
