import { createHash, randomUUID } from 'node:crypto'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Duplex } from 'node:stream'
import type postgres from 'postgres'
import { signToken } from './tokens.ts'

export interface LoginBackend {
  readonly url: string
  /** The marks of the requests that arrived. */
  readonly arrived: ReadonlySet<string>
  close(): void
}

export interface LoginBackendOptions {
  readonly sql: postgres.Sql
  readonly accessTtlS: number
  readonly refreshTtlS: number
}

/**
 * A backend as users have one: `POST /login?user=U` writes a session's two tokens into the table and sets their
 * cookies, `/events` and WebSockets stay open, everything else tells the identity it was sent.
 */
export async function startLoginBackend(options: LoginBackendOptions): Promise<LoginBackend> {
  const arrived = new Set<string>()
  const server = createServer((req, res) => {
    const url = new URL(req.url ?? '/', 'http://backend')
    if (url.pathname === '/login') {
      const user = url.searchParams.get('user') ?? ''
      // Once more where an outage of the database has broken the connection: what is tested is the gateway.
      const loggedIn = logIn(user, options).catch(() => logIn(user, options))
      loggedIn.then(
        (cookies) => res.writeHead(204, { 'Set-Cookie': cookies }).end(),
        () => res.writeHead(503).end(),
      )
      return
    }
    const { 'x-mark': mark, 'x-user-id': user, 'x-session-id': session } = req.headers
    if (mark !== undefined) arrived.add(String(mark))
    if (url.pathname === '/events') {
      res.writeHead(200, { 'Content-Type': 'text/event-stream' }).write(':\n\n')
      return
    }
    res.writeHead(200, { 'Content-Type': 'application/json' })
    res.end(JSON.stringify({ user, session }))
  })
  const upgraded = new Set<Duplex>()
  server.on('upgrade', (req, socket) => {
    arrived.add(String(req.headers['x-mark']))
    upgraded.add(socket)
    socket.on('error', () => socket.destroy())
    socket.once('close', () => upgraded.delete(socket))
    socket.resume()
    socket.write(switching(req.headers['sec-websocket-key']))
  })
  await new Promise<void>((resolve) => server.listen({ port: 0, host: '127.0.0.1', backlog: 1024 }, resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    arrived,
    close() {
      server.closeAllConnections()
      for (const socket of upgraded) socket.destroy()
      server.close()
    },
  }
}

/** The answer to a WebSocket's handshake (RFC 6455, section 4.2.2). */
function switching(key: string | undefined): string {
  const accept = createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64')
  return `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`
}

async function logIn(user: string, { sql, accessTtlS, refreshTtlS }: LoginBackendOptions): Promise<string[]> {
  const sessionId = randomUUID()
  const now = Math.floor(Date.now() / 1000)
  const token = (type: 'access' | 'refresh', ttlS: number) => ({
    claims: { jti: randomUUID(), userId: user, mandateId: 'acme', sessionId, type, exp: now + ttlS },
  })
  const tokens = [token('access', accessTtlS), token('refresh', refreshTtlS)]
  const rows = tokens.map(({ claims: { jti, exp } }) => ({
    id: jti,
    userId: user,
    sessionId,
    mandateId: 'acme',
    status: 'ACTIVE',
    expiresAt: new Date(exp * 1000),
  }))
  await sql`INSERT INTO "Token" ${sql(rows)}`
  const [access, refresh] = await Promise.all(tokens.map(signToken))
  return [`auth_token=${access}; Path=/; HttpOnly`, `refresh_token=${refresh}; Path=/; HttpOnly`]
}
