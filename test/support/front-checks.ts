import { once } from 'node:events'
import { connect } from 'node:http2'
import { request } from 'node:https'
import type { Test } from 'tap'
import { WebSocket } from 'ws'
import { askFront, type Behind } from './front.ts'
import { ask } from './http-client.ts'
import { until } from './plain-gateway.ts'

/** What every balancer in front has to let through, and what it must not. */
export async function checkFront(
  t: Test,
  behind: Behind,
  ports: { readonly tls: number; readonly plain: number },
): Promise<void> {
  const ca = behind.authority.cert
  const { cookie } = behind
  const url = `https://localhost:${ports.tls}`
  await until(() =>
    askFront(`${url}/-/readyz`, { ca }).then(
      ({ status }) => status === 200,
      () => false,
    ),
  )

  const refused = await askFront(`${url}/`, { ca })
  t.match(refused, { status: 401 }, 'without a session the gateway refuses')
  t.match(refused.body, /"code":"credentials_missing"/)

  const claimed = {
    cookie,
    'X-Forwarded-For': '6.6.6.6',
    'X-Forwarded-Proto': 'http',
    'X-Forwarded-Host': 'evil.example',
    Forwarded: 'for=6.6.6.6',
    'X-Real-IP': '6.6.6.6',
    'X-Forwarded-Port': '666',
    'X-Forwarded-Prefix': '/evil',
    'X-Forwarded-User': 'admin',
    'X-Request-Id': 'claimed',
    'X-User-Id': 'admin',
  }
  const answer = await askFront(`${url}/a%20b//c?x=%2F`, { ca, headers: claimed })
  const told = JSON.parse(answer.body) as { url: string; headers: Record<string, string> }
  t.equal(told.url, '/a%20b//c?x=%2F', 'the path arrives as it was sent')
  const host = `localhost:${ports.tls}`
  t.match(told.headers, { host, 'x-forwarded-proto': 'https', 'x-forwarded-host': host })
  t.notMatch(
    JSON.stringify(told.headers),
    /6\.6\.6\.6|"666"|evil|claimed|admin/,
    'what a client claims is not believed',
  )
  t.match(told.headers['x-forwarded-for'], /^127\.0\.0\.1(, 127\.0\.0\.1)?$/)
  t.equal(told.headers['x-request-id'], answer.headers['x-request-id'], 'one request id from end to end')
  t.equal(told.headers.cookie, undefined, 'the token stays at the gateway')

  const own = { ca, method: 'POST', body: '', headers: { cookie, Origin: url } }
  t.equal((await askFront(`${url}/`, own)).status, 200, 'a page of the same origin may write')
  const foreign = { ...own, headers: { cookie, Origin: 'https://evil.example' } }
  t.equal((await askFront(`${url}/`, foreign)).status, 403, 'a page of another origin may not')

  const event = request(`${url}/events`, { ca, headers: { cookie }, agent: false }).end()
  const [res] = await once(event, 'response')
  const [data] = await once(res, 'data')
  t.equal(String(data), 'data: first\n\n', 'an event arrives while the stream goes on')
  event.destroy()
  const streams = async () => {
    const open = [...behind.fleet.running.values()].map((gateway) =>
      gateway.metric('gateway_open_streams{kind="sse"}'),
    )
    return (await Promise.all(open)).reduce((sum, count) => sum + count, 0)
  }
  await t.resolves(
    until(async () => (await streams()) === 0),
    'a quiet stream ends at the gateway when its client goes',
  )

  const socket = new WebSocket(`wss://localhost:${ports.tls}/ws`, { ca, headers: { cookie } })
  await once(socket, 'open')
  socket.send('hello')
  t.equal(String((await once(socket, 'message'))[0]), 'hello', 'WebSockets pass')
  socket.terminate()

  const session = connect(url, { ca })
  const stream = session.request({ ':path': '/h2', cookie })
  const [headers] = await once(stream, 'response')
  t.equal(headers[':status'], 200, 'HTTP/2')
  let text = ''
  for await (const part of stream) text += part
  t.equal(JSON.parse(text).headers.host, host, 'HTTP/2 tells the same host')
  session.destroy()

  const plain = await ask({
    url: `http://127.0.0.1:${ports.plain}/x?y`,
    headers: { Host: 'app.example.com' },
  })
  t.match(plain, { status: 308, headers: { location: 'https://app.example.com/x?y' } })
}
