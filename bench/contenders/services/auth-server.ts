import { createServer, type IncomingMessage } from 'node:http'
import type { Session } from './session.ts'

/** Answers the subrequests of nginx: 204 with the identity, or 401. */
export function serveAuth(check: (req: IncomingMessage) => Promise<Session | null>): void {
  createServer({ noDelay: true, keepAliveTimeout: 600_000 }, async (req, res) => {
    const session = await check(req)
    if (session === null) res.writeHead(401).end()
    else res.writeHead(204, { 'X-User-Id': session.userId, 'X-Session-Id': session.sessionId }).end()
  }).listen({ port: Number(process.argv[2]), host: '127.0.0.1', backlog: 4096 })
}
