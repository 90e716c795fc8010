import postgres from 'postgres'
import type { Certificate } from './certificates.ts'
import { startGateway, type TestGateway } from './gateway.ts'
import { insertToken, startPostgres } from './postgres.ts'
import { type RawExchange, type RawRequestOptions, rawRequest } from './raw-http.ts'
import { startTlsTunnel } from './tls-tunnel.ts'
import { inSeconds, signToken } from './tokens.ts'
import { type RecordingUpstream, startRecordingUpstream } from './upstream.ts'

/** A gateway before a recording upstream and a database with one good token. */
export interface Stage {
  readonly gateway: TestGateway
  readonly upstream: RecordingUpstream
  /** Speaks plain TCP, also where the gateway does not. */
  readonly port: number
  /** What the gateway speaks. */
  readonly scheme: 'http' | 'https'
  /** `Cookie` value of alice, of mandate acme, session s1. */
  readonly cookie: string
  readonly tokenId: string
  readonly sql: postgres.Sql
  ask(bytes: Buffer | string, options?: RawRequestOptions): Promise<RawExchange>
  close(): Promise<void>
}

export interface StageOptions {
  /** Written into the upstream `main`, which the routes name. */
  readonly upstream?: Readonly<Record<string, unknown>>
  /** Further upstreams. */
  readonly upstreams?: Readonly<Record<string, unknown>>
  /** Routes; those without an upstream get `main`. */
  readonly routes?: readonly Readonly<Record<string, unknown>>[]
  readonly env?: Readonly<Record<string, string>>
  /** The gateway speaks TLS with it; what is written to `port` gets there over that. */
  readonly certificate?: Pick<Certificate, 'certFile' | 'keyFile'> | null
}

const ROUTES = [
  { path: '/', auth: 'none' },
  { path: '/secure', auth: 'required' },
]

/** Where nothing else is said: `/` lets everybody in, `/secure` asks for a token. */
export async function startStage(options: StageOptions = {}): Promise<Stage> {
  const { routes = [], env = {}, certificate = null } = options
  const [server, upstream] = await Promise.all([startPostgres(), startRecordingUpstream()])
  const databaseUrl = await server.createDatabase()
  const sql = postgres(databaseUrl, { max: 1, onnotice: () => {} })
  const row = await insertToken(sql)
  const token = await signToken({ claims: { jti: row.id, exp: inSeconds(3600) } })
  const named = [...ROUTES, ...routes].map((route) => ({ upstream: 'main', ...route }))
  const gateway = await startGateway({
    databaseUrl,
    routing: {
      upstreams: { main: { targets: [upstream.url], ...options.upstream }, ...options.upstreams },
      routes: named,
    },
    env:
      certificate === null
        ? env
        : { ...env, TLS_CERT_FILE: certificate.certFile, TLS_KEY_FILE: certificate.keyFile },
  })
  const tunnel = certificate === null ? null : await startTlsTunnel(gateway.port)
  const port = tunnel?.port ?? gateway.port
  return {
    gateway,
    upstream,
    port,
    scheme: certificate === null ? 'http' : 'https',
    cookie: `auth_token=${token}`,
    tokenId: row.id,
    sql,
    ask: (bytes, more) => rawRequest(port, bytes, more),
    async close() {
      tunnel?.close()
      await gateway.stop()
      await upstream.close()
      await sql.end()
      await server.close()
    },
  }
}

/** A request of lines, with `Host` and the end of the head put in. */
export function request(line: string, fields: readonly string[] = [], body: Buffer | string = ''): Buffer {
  const head = [`${line} HTTP/1.1`, 'Host: app.example.com', ...fields, '', ''].join('\r\n')
  return Buffer.concat([
    Buffer.from(head, 'latin1'),
    typeof body === 'string' ? Buffer.from(body, 'latin1') : body,
  ])
}
