import type { IncomingMessage } from 'node:http'
import { jwtVerify } from 'jose'
import postgres from 'postgres'
import { SECRET } from '../../database.ts'

export interface Session {
  readonly userId: string
  readonly mandateId: string | null
  readonly sessionId: string
}

const key = new TextEncoder().encode(SECRET)

/** @returns the token's id. @throws jose's errors, also where there is no cookie */
export async function verifiedId(req: IncomingMessage): Promise<string> {
  const token = /(?:^|;\s*)auth_token=([^;]+)/.exec(req.headers.cookie ?? '')?.[1] ?? ''
  const { payload } = await jwtVerify(token, key, { algorithms: ['HS256'] })
  return String(payload.jti)
}

/** What a tutorial would write: it verifies the token, then sends one query for this one request. */
export function createSessionCheck(): (req: IncomingMessage) => Promise<Session | null> {
  const sql = postgres(process.env.DATABASE_URL!, { max: 10 })
  return async (req) => {
    try {
      const id = await verifiedId(req)
      const [row] = await sql<Session[]>`
        select "userId", "mandateId", "sessionId" from "Token"
        where "id" = ${id} and "status" = 'ACTIVE' and "expiresAt" > now()`
      return row ?? null
    } catch {
      return null
    }
  }
}
