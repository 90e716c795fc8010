/** An open connection, or what one protocol keeps of it, as the way out needs it. */
export interface OpenConnection {
  /** Ends it where nothing is under way on it; where something is, tells the client to leave if the protocol can. */
  closeIdle(): void
  /** Ends it, whatever is under way. */
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
