import type { Socket } from 'node:net'
import t from 'tap'
import { until } from '../support/plain-gateway.ts'
import { openConnection } from '../support/raw-http.ts'
import { request, startStage } from '../support/stage.ts'
import { answerOk } from '../support/upstream.ts'

const stage = await startStage({
  upstream: { maxConnections: 1 },
  env: { STREAM_RECHECK_MS: '100', ACCESS_LOG: 'off' },
})
t.teardown(() => stage.close())

t.test(
  'a request whose token is revoked while it waits for a connection to the target is 401 and not forwarded',
  async (t) => {
    const held: Socket[] = []
    stage.upstream.respond((got, socket) => {
      if (got.target === '/hold') held.push(socket)
      else answerOk(got, socket)
    })
    const holding = await openConnection(stage.port)
    holding.write(request('GET /hold'))
    await until(() => held.length === 1)
    const waiting = await openConnection(stage.port)
    t.teardown(() => waiting.destroy())
    waiting.write(request('POST /secure/late', [`Cookie: ${stage.cookie}`, 'Content-Length: 0']))
    await until(async () => (await stage.gateway.metric('gateway_requests_in_flight')) === 2)
    await until(
      async () => (await stage.gateway.metric('gateway_token_lookups_total{result="active"}')) === 1,
    )
    await stage.sql`update "Token" set status = 'REVOKED' where id = ${stage.tokenId}`
    await until(
      async () => (await stage.gateway.metric('gateway_streams_closed_total{reason="revoked"}')) === 1,
    )
    const refused = await waiting.response()
    t.equal(refused.status, 401)
    t.match(refused.body.toString(), /"code":"token_revoked"/)
    held[0]!.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok')
    t.equal((await holding.response()).status, 200)
    holding.destroy()
    t.equal((await stage.ask(request('GET /after'))).responses[0]?.status, 200, 'the connection is free')
    t.same(
      stage.upstream.requests.map(({ target }) => target),
      ['/hold', '/after'],
    )
  },
)
