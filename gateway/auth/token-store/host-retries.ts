import { DatabaseError } from '../../database/database.ts'

/**
 * Repeats a query on a new connection where the first was stale, or led to a server that may not decide.
 *
 * @param times how often it is repeated at most: once for each server that the database has
 * @throws what the last query throws
 */
export async function queryHosts<T>(times: number, query: () => Promise<T>): Promise<T> {
  for (let left = times; ; left--) {
    try {
      return await query()
    } catch (error) {
      if (left <= 0 || !(error instanceof DatabaseError && error.stale)) throw error
    }
  }
}
