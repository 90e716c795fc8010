/** How often a server that works on a statement checks whether its client is still connected. */
const CLIENT_CHECK_MS = 1000

/** The settings by which the server itself bounds what it does for a session. */
export interface SessionBounds {
  readonly settings: Readonly<Record<string, string>>
  /** Leaves a setting out from now on, because a server or pooler refuses it. */
  drop(name: string): void
}

/** @param statementTimeoutMs the server's own limit for a statement, in case a cancel request is lost */
export function createSessionBounds(statementTimeoutMs: number): SessionBounds {
  let settings: Record<string, string> = {
    statement_timeout: String(statementTimeoutMs),
    client_connection_check_interval: String(CLIENT_CHECK_MS),
  }
  return {
    get settings() {
      return settings
    },
    drop(name) {
      const { [name]: _, ...others } = settings
      settings = others
    },
  }
}
