import postgres from 'postgres'
import { tlsOptions } from '../auth/database-lane.ts'
import { type DatabaseAddress, type DatabaseHost, parseDatabaseUrl } from '../auth/database-url.ts'

export interface RevocationListener {
  close(): Promise<void>
}

export interface ListenerParts {
  readonly databaseUrl: string
  readonly channel: string
  readonly onToken: (tokenId: string) => void
  /** The connection is listening, again: what was notified before is not known. */
  readonly onListening: () => void
  readonly onFault: (error: unknown) => void
}

/** How long after a failure the next try comes, in milliseconds. */
const RETRY_MS = 500

/**
 * LISTENs on a connection of its own, made anew at the next of the URL's hosts when it fails or is lost. postgres.js
 * listens again by itself, too; but it cuts IPv6 addresses at their first colon, does not pause between hosts that are
 * down, and adds a listener for each LISTEN that failed. Not usable through a pooler in transaction mode.
 */
export function createRevocationListener(parts: ListenerParts): RevocationListener {
  const address = parseDatabaseUrl(parts.databaseUrl)
  let closed = false
  let tries = 0
  let retry: NodeJS.Timeout | undefined
  let sql = open()

  function open(): postgres.Sql {
    const host = address.hosts[tries++ % address.hosts.length]!
    let over = false
    const opened = connect(address, host, {
      onnotify: (_channel, payload) => parts.onToken(payload),
      onclose: () => end(new Error('the connection was closed')),
    })
    listen(opened).then(
      () => {
        if (!over) parts.onListening()
      },
      (error: unknown) => end(error),
    )

    function end(error: unknown): void {
      if (over || closed) return
      over = true
      parts.onFault(error)
      void opened.end({ timeout: 0 }).catch(() => {})
      retry = setTimeout(() => {
        sql = open()
      }, RETRY_MS)
      retry.unref()
    }
    return opened
  }

  async function listen(on: postgres.Sql): Promise<void> {
    const [server] = await on`select pg_is_in_recovery() as standby`
    if (server?.standby !== false) throw new Error('the server is a standby, which hears of no notice')
    await on`listen ${on(parts.channel)}`
  }

  return {
    async close() {
      closed = true
      clearTimeout(retry)
      await sql.end({ timeout: 1 }).catch(() => {})
    },
  }
}

interface Hears {
  readonly onnotify: (channel: string, payload: string) => void
  readonly onclose: () => void
}

function connect(address: DatabaseAddress, { host, port }: DatabaseHost, hears: Hears): postgres.Sql {
  const { user, password, database, ssl, parameters } = address
  return postgres({
    host: [host],
    port: [port],
    ...(host.startsWith('/') ? { path: `${host}/.s.PGSQL.${port}` } : {}),
    ...(user === undefined ? {} : { user }),
    ...(password === undefined ? {} : { password }),
    ...(database === undefined ? {} : { database }),
    ssl: tlsOptions(ssl, () => host) as never,
    max: 1,
    fetch_types: false,
    idle_timeout: 0,
    max_lifetime: null,
    keep_alive: 10,
    connect_timeout: 5,
    onnotice: () => {},
    connection: { application_name: 'poweron-gateway-listen', ...parameters },
    ...hears,
    // Its types know neither of hosts in a list nor of `onnotify`.
  } as unknown as postgres.Options<Record<string, never>>)
}
