import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { accepts } from './accepts.ts'
import type { Certificate } from './certificates.ts'
import { until } from './plain-gateway.ts'
import { freePort } from './raw-backend.ts'
import type { Instance } from './round-robin.ts'

const HAPROXY = '/usr/sbin/haproxy'

export interface Balancer {
  readonly port: number
  close(): Promise<void>
}

export function haproxyIsInstalled(): boolean {
  return existsSync(HAPROXY)
}

/** HAProxy before these slots, round robin; those where nothing answers are out until something does. */
export function startHaproxy(slots: readonly Instance[]): Promise<Balancer> {
  return start((port) => configuration(port, slots))
}

/**
 * HAProxy in TCP mode before one port.
 *
 * @param option how it tells of its clients, such as `send-proxy-v2`
 */
export function startHaproxyBefore(target: number, option: string): Promise<Balancer> {
  return startHaproxyFront({ mode: 'tcp', server: `127.0.0.1:${target} ${option}` })
}

export interface Front {
  readonly mode: 'http' | 'tcp'
  /** Address and options of the only server. */
  readonly server: string
  /** Behind the address of `bind`, such as `ssl crt FILE`. */
  readonly bind?: string
  /** Further lines of the frontend. */
  readonly lines?: readonly string[]
}

/** HAProxy before one port, once it accepts connections. */
export async function startHaproxyFront({ mode, server, bind = '', lines = [] }: Front): Promise<Balancer> {
  const balancer = await start(
    (port) => `defaults
  mode ${mode}
  timeout connect 1s
  timeout client 30s
  timeout server 30s
frontend in
  bind 127.0.0.1:${port} ${bind}
${lines.map((line) => `  ${line}`).join('\n')}
  default_backend gateway
backend gateway
  server g ${server}
`,
  )
  await until(() => accepts(balancer.port))
  return balancer
}

/** HAProxy over TLS, for whoever asks for a name that the certificate has; it answers every request with 200. */
export async function startStrictHaproxy({ certFile, cert, key }: Certificate): Promise<Balancer> {
  const both = `${certFile}.both`
  await writeFile(both, Buffer.concat([cert, key]))
  const balancer = await start(
    (port) => `defaults
  mode http
  timeout connect 1s
  timeout client 30s
  timeout server 30s
frontend in
  bind 127.0.0.1:${port} ssl crt ${both} strict-sni alpn h2,http/1.1
  http-request return status 200
`,
  )
  await until(() => accepts(balancer.port))
  return balancer
}

async function start(configure: (port: number) => string): Promise<Balancer> {
  const port = await freePort()
  const folder = await mkdtemp(join(tmpdir(), 'gateway-haproxy-'))
  const file = join(folder, 'haproxy.cfg')
  await writeFile(file, configure(port))
  const haproxy = spawn(HAPROXY, ['-db', '-q', '-f', file], { stdio: 'ignore' })
  const gone = new Promise((resolve) => haproxy.once('exit', resolve))
  return {
    port,
    async close() {
      haproxy.kill('SIGKILL')
      await gone
      await rm(folder, { recursive: true, force: true })
    },
  }
}

/**
 * What is sent again is only what cannot have happened twice: a method that reads, or a request whose connection
 * was never made. A frozen instance is found out by its checks; what it holds already waits for `timeout server`.
 */
function configuration(port: number, slots: readonly Instance[]): string {
  const servers = slots.map(
    (slot, n) => `  server g${n} 127.0.0.1:${slot.port} check port ${slot.adminPort} inter 100 fall 2 rise 1`,
  )
  return `global
  maxconn 4000
defaults
  mode http
  timeout connect 500ms
  timeout check 500ms
  timeout client 30s
  timeout server 15s
  timeout tunnel 1h
  retries 3
  option redispatch 1
  retry-on conn-failure empty-response response-timeout
frontend in
  bind 127.0.0.1:${port}
  default_backend gateways
backend gateways
  balance roundrobin
  option httpchk GET /readyz
  http-request disable-l7-retry unless { method GET HEAD OPTIONS }
${servers.join('\n')}
`
}
