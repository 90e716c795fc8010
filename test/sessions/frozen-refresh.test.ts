import { randomUUID } from 'node:crypto'
import { connect, type Socket } from 'node:net'
import postgres from 'postgres'
import t from 'tap'
import { type GatewayOptions, startGateway } from '../support/gateway.ts'
import { insertToken, startPostgres } from '../support/postgres.ts'
import { inSeconds, signToken } from '../support/tokens.ts'

const pg = await startPostgres()
const databaseUrl = await pg.createDatabase()
const sql = postgres(databaseUrl, { max: 1, onnotice: () => {} })
const options: GatewayOptions = {
  databaseUrl,
  routing: {
    upstreams: { app: { targets: ['http://127.0.0.1:1'] } },
    routes: [{ path: '/', upstream: 'app' }],
  },
  env: { SESSION_ENDPOINTS: 'on' },
}
const gateway = await startGateway(options)
t.teardown(async () => {
  gateway.signal('SIGCONT')
  await gateway.stop()
  await sql.end({ timeout: 1 })
  await pg.close()
})

async function newRefreshToken() {
  const { id, sessionId } = await insertToken(sql, { sessionId: randomUUID() })
  const claims = {
    jti: id,
    userId: 'alice',
    mandateId: 'acme',
    sessionId,
    type: 'refresh',
    exp: inSeconds(3600),
  }
  return { id, cookie: `refresh_token=${await signToken({ claims })}` }
}

/** Resolves once the bytes are with the kernel, where a frozen process finds them later. */
async function sendRefresh(cookie: string): Promise<Socket> {
  const socket = connect({ port: gateway.port, host: '127.0.0.1' })
  socket.on('error', () => {})
  await new Promise<void>((resolve) => socket.once('connect', () => resolve()))
  const head = `POST /-/refresh HTTP/1.1\r\nHost: gateway\r\nContent-Length: 0\r\nCookie: ${cookie}\r\n\r\n`
  await new Promise<void>((resolve) => socket.write(head, () => resolve()))
  return socket
}

const refresh = (cookie: string) => fetch(`${gateway.url}/-/refresh`, { method: 'POST', headers: { cookie } })
const statusOf = async (id: string) => (await sql`select status from "Token" where id = ${id}`)[0]?.status

for (const [how, leave] of [
  ['closed', (socket: Socket) => void socket.destroy()],
  ['reset', (socket: Socket) => void socket.resetAndDestroy()],
] as const) {
  t.test(
    `a refresh that a frozen instance finds when it goes on, its connection ${how}, does not use up its token`,
    async (t) => {
      const late = await newRefreshToken()
      const other = await newRefreshToken()
      gateway.signal('SIGSTOP')
      const socket = await sendRefresh(late.cookie)
      leave(socket)
      gateway.signal('SIGCONT')
      // Whatever the late one does is under way before these, and done with them.
      t.equal((await refresh(other.cookie)).status, 204)
      t.equal((await refresh(other.cookie)).status, 204)
      t.equal(await statusOf(late.id), 'ACTIVE')
      t.equal((await refresh(late.cookie)).status, 204, 'its user refreshes elsewhere, whenever that is')
    },
  )
}
