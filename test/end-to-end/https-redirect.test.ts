import t from 'tap'
import { createAuthority } from '../support/certificates.ts'
import { rawRequest } from '../support/raw-http.ts'
import { request, type Stage, startStage } from '../support/stage.ts'

let stage: Stage
let redirectPort: number

t.before(async () => {
  const { certFile, keyFile } = createAuthority(t, 'the edge').issue('app', ['DNS:app.example.com'])
  stage = await startStage({
    env: {
      TLS_CERT_FILE: certFile,
      TLS_KEY_FILE: keyFile,
      HTTP_REDIRECT_PORT: '0',
      HSTS_MAX_AGE_S: '600',
      HEADERS_TIMEOUT_MS: '300',
    },
  })
  redirectPort = (await stage.gateway.line(({ msg }) => msg === 'listening')).redirectPort as number
})
t.teardown(() => stage.close())

/** What comes back. */
async function ask(bytes: Buffer | string): Promise<string> {
  return (await rawRequest(redirectPort, bytes)).raw.toString('latin1')
}

/** A request with this Host. */
function asking(host: string, line = 'GET /'): string {
  return `${line} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`
}

for (const [what, host, line, location] of [
  [
    'path and query as they were sent',
    'app.example.com',
    'GET /a%2Db//c;x?y=1&z=%00',
    'app.example.com/a%2Db//c;x?y=1&z=%00',
  ],
  ['a query with bytes above ASCII', 'app.example.com', 'GET /a?b=\xc3\xa9', 'app.example.com/a?b=%C3%A9'],
  ['a host in upper case', 'APP.Example.com', 'GET /', 'app.example.com/'],
  ['an IPv6 address', '[::1]', 'GET /', '[::1]/'],
  ['a POST', 'app.example.com', 'POST /form', 'app.example.com/form'],
  ['an absolute target', 'app.example.com', 'GET http://app.example.com/x', 'app.example.com/x'],
  ['a path that no route has', 'nowhere.example.com', 'GET /none', 'nowhere.example.com/none'],
  ['an own endpoint that reads cookies', 'app.example.com', 'GET /-/session', 'app.example.com/-/session'],
] as const) {
  t.test(`${what}: to HTTPS with 308, and nothing reaches an upstream`, async (t) => {
    const before = stage.upstream.requests.length
    const text = await ask(Buffer.from(asking(host, line), 'latin1'))
    t.match(text, /^HTTP\/1\.1 308 /)
    t.match(text, `\r\nLocation: https://${location}\r\n`)
    t.notMatch(text, /strict-transport-security/i, 'that is for TLS alone (RFC 6797, section 7.2)')
    t.equal(stage.upstream.requests.length, before)
  })
}

t.test('a request with a port in Host is redirected to the port of the TLS listener', async (t) => {
  const text = await ask(asking(`127.0.0.1:${redirectPort}`))
  t.match(text, `\r\nLocation: https://127.0.0.1:${stage.port}/\r\n`)
})

t.test("load balancers' probes are answered without a redirect", async (t) => {
  for (const path of ['/-/healthz', '/-/readyz'])
    t.match(await ask(asking('10.0.0.1', `GET ${path}`)), /^HTTP\/1\.1 200 /)
})

for (const [what, bytes, status] of [
  ['a Host with user information (open redirect)', asking('good.example.com@evil.example.com'), 400],
  ['a Host with a path (open redirect)', asking('evil.example.com/'), 400],
  ['no Host', 'GET / HTTP/1.1\r\nConnection: close\r\n\r\n', 400],
  ['two Hosts', 'GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: close\r\n\r\n', 400],
  ['a foreign authority in the target', asking('app.example.com', 'GET http://evil.example.com/'), 400],
  ['dot segments', asking('app.example.com', 'GET /a/../b'), 400],
  ['TRACE', asking('app.example.com', 'TRACE /'), 405],
  ['a head that does not end (slowloris)', 'GET / HTTP/1.1\r\nHost: app', 408],
  ['a head over the limit', asking('app.example.com', `GET /${'x'.repeat(20_000)}`), 431],
] as const) {
  t.test(`${what} is a ${status}`, async (t) => {
    const text = await ask(bytes)
    t.match(text, new RegExp(`^HTTP/1\\.1 ${status} `))
    t.notMatch(text, /^location:/im)
  })
}

t.test('redirects are in the access log', async (t) => {
  await ask(request('GET /logged', ['Connection: close']))
  const line = await stage.gateway.line(({ path }) => path === '/logged')
  t.match(line, { status: 308, host: 'app.example.com', method: 'GET' })
})

t.test('a drain closes the redirect listener too', async (t) => {
  stage.gateway.signal('SIGTERM')
  t.equal(await stage.gateway.exited, 0)
  await t.rejects(ask(asking('app.example.com')))
})
