import postgres from 'postgres'

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
 * LISTENs on a connection of its own. postgres.js listens again by itself after a connection was lost; only a
 * first LISTEN that fails is tried again here. Not usable through a pooler in transaction mode.
 */
export function createRevocationListener(parts: ListenerParts): RevocationListener {
  let closed = false
  let retry: NodeJS.Timeout | undefined
  let sql = connect()

  function connect(): postgres.Sql {
    return postgres(parts.databaseUrl, {
      max: 1,
      fetch_types: false,
      idle_timeout: 0,
      keep_alive: 10,
      connect_timeout: 5,
      backoff: () => RETRY_MS / 1000,
      target_session_attrs: 'primary',
      onnotice: () => {},
      connection: { application_name: 'poweron-gateway-listen' },
    })
  }

  function listen(): void {
    sql.listen(parts.channel, parts.onToken, parts.onListening).catch((error: unknown) => {
      if (closed) return
      parts.onFault(error)
      // postgres.js goes on with what has failed, too: two that try would leave one more listener behind each time.
      const failed = sql
      sql = connect()
      void failed.end({ timeout: 0 }).catch(() => {})
      retry = setTimeout(listen, RETRY_MS)
      retry.unref()
    })
  }

  listen()
  return {
    async close() {
      closed = true
      clearTimeout(retry)
      await sql.end({ timeout: 1 }).catch(() => {})
    },
  }
}
