/** How often a server looks whether its client is still there while it works on a statement. */
const CLIENT_CHECK_MS = 1000

/** Settings that have the server itself bound what it does for a session. */
export interface SessionBounds {
  readonly settings: Readonly<Record<string, string>>
  /** A server or pooler does not take this one: it is asked without from now on. */
  drop(name: string): void
}

/** @param statementTimeoutMs the server's own limit for a statement, should a cancel request be lost */
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
