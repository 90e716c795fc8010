import t from 'tap'
import { ask } from '../support/either-client.ts'
import { openConnection } from '../support/raw-http.ts'
import { shot, startRange, TRANSPORT, testOverHttp1 } from './support.ts'

const range = await startRange(t, {
  routes: [{ path: '/pages', loginRedirect: '/login?next={path}' }],
})

testOverHttp1(
  'Expect: 100-continue without a good token: 401, no 100, and the body stays unread',
  async (t) => {
    for (const cookie of ['', 'Cookie: auth_token=a.b.c\r\n']) {
      const before = range.upstream.requests.length
      const client = await openConnection(range.port)
      client.write(
        `POST /required HTTP/1.1\r\nHost: app.example.com\r\n${cookie}Expect: 100-continue\r\nContent-Length: 50\r\n\r\n`,
      )
      const response = await client.response('POST')
      t.equal(response.status, 401, 'the first answer is the refusal')
      client.write('GET /public/smuggled HTTP/1.1\r\nHost: app.example.com\r\n\r\n')
      await client.closed
      t.notMatch(client.raw().toString(), /100 Continue|200 OK/)
      t.equal(range.upstream.requests.length, before, 'nothing arrives')
    }
  },
)

if (TRANSPORT === 'http2')
  t.test('Expect: 100-continue without a good token over HTTP/2: 401 and no 100', async (t) => {
    for (const cookie of [[], [['cookie', 'auth_token=a.b.c']]] as const) {
      const before = range.upstream.requests.length
      const fields = [['expect', '100-continue'], ...cookie] as const
      const asked = ask(t, range.gateway.port, 'HTTP/2', { method: 'POST', path: '/required', fields })
      t.equal((await asked.head).status, 401)
      asked.end('GET /public/smuggled HTTP/1.1\r\nHost: app.example.com\r\n\r\n')
      await asked.answer
      t.same(asked.interim, [], 'nothing else is answered')
      t.equal(range.upstream.requests.length, before, 'nothing arrives')
    }
  })

const OPEN_REDIRECTS = [
  '/pages//evil.example',
  '/pages/x?next=//evil.example',
  '/pages/x?next=https://evil.example',
  '/pages/%0d%0aSet-Cookie:%20a=b',
  '/pages/%0d%0a%0d%0a<script>',
  '//pages/evil.example',
  '//evil.example/pages',
  '/pages/@evil.example',
  '/pages/\\evil.example',
  '/%5cevil.example/pages',
  '/pages/?a&next=b',
]

t.test(
  'loginRedirect stays on the own origin, whatever the path (open redirect, response splitting)',
  async (t) => {
    let redirects = 0
    for (const target of OPEN_REDIRECTS) {
      const hit = await range.fire(
        shot('request', target, [
          'Accept: text/html',
          'Sec-Fetch-Mode: navigate',
          'Sec-Fetch-Dest: document',
        ]),
      )
      const response = hit.responses[0]!
      if (hit.status === 303) {
        redirects++
        const location = response.header('location')!
        const url = new URL(location, 'http://app.example.com')
        t.equal(url.origin, 'http://app.example.com', target)
        t.equal(url.pathname, '/login')
        t.same([...url.searchParams.keys()], ['next'], 'the path adds no parameter of its own')
        t.match(location, /^\/login\?next=[\w%.!~*'()-]*$/)
      }
      t.equal(response.all('set-cookie').length, 0)
      t.equal(hit.responses.length, 1, 'one answer')
      t.notOk(hit.arrived.some((request) => request.target.startsWith('/pages')))
    }
    t.ok(redirects >= 5, `${redirects} were redirects`)
  },
)

t.test('a foreign origin may read but not write with a user’s cookie (CSRF)', async (t) => {
  for (const method of ['POST', 'PUT', 'PATCH', 'DELETE']) {
    const hit = await range.fire(
      `${method} /required HTTP/1.1\r\nHost: app.example.com\r\nCookie: ${range.cookie}\r\nOrigin: https://evil.example\r\nContent-Length: 0\r\n\r\n`,
    )
    t.same([hit.status, hit.code, hit.arrived], [403, 'origin_forbidden', []], method)
  }
})
