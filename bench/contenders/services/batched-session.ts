import type { IncomingMessage } from 'node:http'
import postgres from 'postgres'
import { type Session, verifiedId } from './session.ts'

interface Waiting {
  readonly id: string
  resolve(session: Session | null): void
  reject(error: unknown): void
}

/** As the gateway does it: look-ups that wait while a query is under way share the next one. */
export function createBatchedSessionCheck(): (req: IncomingMessage) => Promise<Session | null> {
  const sql = postgres(process.env.DATABASE_URL!, { max: 4 })
  let waiting: Waiting[] = []
  let isQuerying = false

  async function queryWaiting(): Promise<void> {
    const batch = waiting
    waiting = []
    try {
      const rows = await sql<(Session & { id: string })[]>`
        select "id", "userId", "mandateId", "sessionId" from "Token"
        where "id" = any(${batch.map(({ id }) => id)}) and "status" = 'ACTIVE' and "expiresAt" > now()`
      const found = new Map(rows.map((row) => [row.id, row]))
      for (const each of batch) each.resolve(found.get(each.id) ?? null)
    } catch (error) {
      for (const each of batch) each.reject(error)
    }
    if (waiting.length > 0) void queryWaiting()
    else isQuerying = false
  }

  function find(id: string): Promise<Session | null> {
    return new Promise((resolve, reject) => {
      waiting.push({ id, resolve, reject })
      if (isQuerying) return
      isQuerying = true
      setImmediate(() => void queryWaiting())
    })
  }

  return async (req) => {
    try {
      return await find(await verifiedId(req))
    } catch {
      return null
    }
  }
}
