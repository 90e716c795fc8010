import { DatabaseError } from '../../database/database.ts'

/**
 * Repeats a query on a new connection where the first was stale, or led to a server that may not decide, once for each
 * server.
 *
 * @param hosts how many servers the database has
 * @throws what the last query throws
 */
export async function queryHosts<T>(hosts: number, query: () => Promise<T>): Promise<T> {
  for (let left = hosts; ; left--) {
    try {
      return await query()
    } catch (error) {
      if (left <= 0 || !(error instanceof DatabaseError && error.stale)) throw error
    }
  }
}
