/** An open connection, or the part of one protocol in it, as far as the drain needs it. */
export interface OpenConnection {
  /** Closes it if it is idle; otherwise asks the client to end it, if the protocol has a way to do so. */
  closeIdle(): void
  /** Closes it, even during an exchange. */
  close(): void
}

/** All that is open towards clients, for the drain. Each stage registers what it holds. */
export interface ConnectionRegistry {
  /** @returns deregisters it; to be called when it has closed or was handed on */
  register(connection: OpenConnection): () => void
  closeIdle(): void
  closeAll(): void
}

export function createConnectionRegistry(): ConnectionRegistry {
  const open = new Set<OpenConnection>()
  return {
    register(connection) {
      open.add(connection)
      return () => open.delete(connection)
    },
    closeIdle() {
      for (const connection of open) connection.closeIdle()
    },
    closeAll() {
      for (const connection of open) connection.close()
    },
  }
}
