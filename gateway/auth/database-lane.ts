import { connect, type Socket } from 'node:net'
import { type ConnectionOptions, checkServerIdentity } from 'node:tls'
import postgres from 'postgres'
import type { DatabaseAddress, DatabaseHost } from './database-url.ts'

export interface Lane {
  readonly sql: postgres.Sql
  /** Ends the socket, whatever postgres.js thinks of it. */
  destroy(): void
  /** A query may open one socket. postgres.js would go on opening them where each is closed before it is ready. */
  mayConnect: boolean
  /** Of the URL's hosts, the one that the socket leads to. */
  host: number
  busy: boolean
  /** True once a query succeeded: the server was there, and its going away is news. */
  proven: boolean
}

export interface LaneOptions {
  /** False behind a pooler that cannot keep prepared statements. */
  readonly prepare: boolean
  readonly applicationName?: string
}

/**
 * One connection, opened by its first query. postgres.js pipelines onto busy connections, waits up to 20 s
 * between tries, and with several hosts down never rejects; so each is an instance of its own with a socket of ours.
 *
 * @param nextHost the host of the address to connect to, now
 */
export function createLane(address: DatabaseAddress, nextHost: () => number, options: LaneOptions): Lane {
  let socket: Socket | null = null
  const lane: Lane = {
    sql: postgres({
      // Without these two postgres.js would read its environment variables for them.
      host: 'database',
      port: 5432,
      max: 1,
      ...(address.user === undefined ? {} : { user: address.user }),
      ...(address.password === undefined ? {} : { password: address.password }),
      ...(address.database === undefined ? {} : { database: address.database }),
      ssl: tlsOptions(address.ssl, () => address.hosts[lane.host]!.host) as never,
      prepare: options.prepare,
      // Array types would cost a query for each new connection; arrays are sent as literals.
      fetch_types: false,
      connect_timeout: 0,
      idle_timeout: 0,
      max_lifetime: null,
      // A lane whose connection failed is thrown away; one that lost it while idle may connect at once.
      backoff: () => 0,
      onnotice: () => {},
      connection: { application_name: options.applicationName ?? 'poweron-gateway', ...address.parameters },
      async socket() {
        if (!lane.mayConnect)
          throw Object.assign(new Error('closed too early'), { code: 'CONNECTION_CLOSED' })
        lane.mayConnect = false
        lane.proven = false
        lane.host = nextHost()
        socket = openSocket(address.hosts[lane.host]!)
        return connected(socket, address.hosts[lane.host]!)
      },
    } as postgres.Options<Record<string, never>>),
    destroy: () => socket?.destroy(),
    mayConnect: true,
    host: nextHost(),
    busy: false,
    proven: false,
  }
  return lane
}

/** How libpq names it: these encrypt, and trust any server. */
const UNVERIFIED = new Set(['allow', 'prefer', 'require'])

/**
 * postgres.js names no server where the host is an address, and TLS would then accept a certificate for
 * `localhost`, and refuse the address's own.
 */
export function tlsOptions(sslmode: string | false, host: () => string): string | false | ConnectionOptions {
  if (sslmode === false || UNVERIFIED.has(sslmode)) return sslmode
  if (sslmode === 'verify-ca') return { checkServerIdentity: () => undefined }
  return { checkServerIdentity: (_name, certificate) => checkServerIdentity(host(), certificate) }
}

function openSocket({ host, port }: DatabaseHost): Socket {
  const socket = host.startsWith('/') ? connect(`${host}/.s.PGSQL.${port}`) : connect({ host, port })
  socket.setNoDelay(true)
  socket.setKeepAlive(true, 10_000)
  return socket
}

/** A connected socket, as postgres.js wants it from a `socket` option. */
function connected(socket: Socket, { host, port }: DatabaseHost): Promise<Socket> {
  return new Promise((resolve, reject) => {
    socket.once('error', reject)
    socket.once('connect', () => {
      socket.off('error', reject)
      // What postgres.js verifies the server's certificate against.
      resolve(Object.assign(socket, { host, port }))
    })
  })
}
