import t, { type Test } from 'tap'
import { createAuthority } from '../support/certificates.ts'
import { type Ask, ask, type EitherAnswer, PROTOCOLS } from '../support/either-client.ts'
import { until } from '../support/plain-gateway.ts'
import { insertToken } from '../support/postgres.ts'
import { request, startStage } from '../support/stage.ts'
import { inSeconds, signToken } from '../support/tokens.ts'
import { answerOk } from '../support/upstream.ts'

const authority = createAuthority(t, 'the edge authority')
const app = authority.issue('app.example.com', ['DNS:app.example.com'])
const stage = await startStage({
  upstream: { timeouts: { response: '800ms' } },
  upstreams: { gone: { targets: ['http://127.0.0.1:1'] } },
  routes: [
    { path: '/gone', auth: 'none', upstream: 'gone' },
    { path: '/small', auth: 'none', maxBodyBytes: 10 },
    { path: '/login-first', loginRedirect: '/login?next={path}' },
  ],
  certificate: app,
  env: { REQUEST_TIMEOUT_MS: '400', STREAM_RECHECK_MS: '50' },
})
t.teardown(() => stage.close())
t.afterEach(() => stage.upstream.respond(answerOk))

type Fields = readonly (readonly [string, string])[]
const NAVIGATES: Fields = [['Sec-Fetch-Mode', 'navigate']]
const OLD_BROWSER: Fields = [['Accept', 'text/html,application/xhtml+xml,*/*;q=0.8']]
const FETCHES: Fields = [
  ['Sec-Fetch-Mode', 'cors'],
  ['Accept', 'text/html'],
]

const HTML = 'text/html; charset=utf-8'
const JSON_TYPE = 'application/problem+json'

function isPage(t: Test, answer: EitherAnswer, status: number, code: string): void {
  const html = answer.body.toString()
  t.equal(answer.status, status)
  t.same(answer.all('content-type'), [HTML])
  t.same(answer.all('content-length'), [String(answer.body.length)])
  t.same(answer.all('cache-control'), ['no-store'])
  t.match(answer.all('content-security-policy'), [/^default-src 'none'; style-src 'sha256-[\w+/]+={0,2}'; /])
  const [requestId = 'none'] = answer.all('x-request-id')
  for (const shown of [status, code, requestId]) t.ok(html.includes(`<dd>${shown}</dd>`), `${shown}`)
}

function isProblem(t: Test, answer: EitherAnswer, status: number, code: string): void {
  t.equal(answer.status, status)
  t.same(answer.all('content-type'), [JSON_TYPE])
  t.same(answer.all('content-security-policy'), [])
  t.match(JSON.parse(answer.body.toString()), { status, code })
}

for (const protocol of PROTOCOLS) {
  t.test(protocol, async (t) => {
    const get = (t: Test, request: Ask) => {
      const asked = ask(t, stage.gateway.port, protocol, request)
      asked.end()
      return asked.answer
    }

    t.test('a browser that navigates gets a page, with the fields that belong to the status', async (t) => {
      const missing = await get(t, { path: '/secure', fields: NAVIGATES })
      isPage(t, missing, 401, 'credentials_missing')
      t.match(missing.all('www-authenticate'), [/^Cookie realm="gateway"/])
      const method = await get(t, { method: 'TRACE', path: '/', fields: NAVIGATES })
      isPage(t, method, 405, 'method_not_allowed')
      t.match(method.all('allow'), [/GET/])
      isPage(t, await get(t, { path: '/gone', fields: NAVIGATES }), 502, 'upstream_unreachable')
      isPage(t, await get(t, { path: '/a/../b', fields: NAVIGATES }), 400, 'bad_request')
      isPage(t, await get(t, { path: '/-/session', fields: NAVIGATES }), 401, 'credentials_missing')
    })

    t.test('an older browser gets a page by its Accept', async (t) => {
      isPage(t, await get(t, { path: '/gone', fields: OLD_BROWSER }), 502, 'upstream_unreachable')
    })

    t.test('a form that a browser posts gets a page', async (t) => {
      const post = { method: 'POST', path: '/gone', fields: NAVIGATES }
      isPage(t, await get(t, post), 502, 'upstream_unreachable')
    })

    t.test('scripts and programs get problem+json', async (t) => {
      for (const fields of [FETCHES, [], [['Accept', '*/*']], [['Accept', 'application/json']]] as Fields[])
        isProblem(t, await get(t, { path: '/gone', fields }), 502, 'upstream_unreachable')
    })

    t.test('HEAD gets the fields of the page, and no body', async (t) => {
      const [page, head] = await Promise.all(
        ['GET', 'HEAD'].map((method) => get(t, { method, path: '/gone', fields: NAVIGATES })),
      )
      t.equal(head!.status, 502)
      t.equal(head!.body.length, 0)
      for (const name of ['content-type', 'content-length', 'content-security-policy', 'cache-control'])
        t.same(head!.all(name), page!.all(name), name)
    })

    t.test('a login page goes before an error page', async (t) => {
      const answer = await get(t, { path: '/login-first', fields: NAVIGATES })
      t.equal(answer.status, 303)
      t.equal(answer.body.length, 0)
    })

    t.test('an exchange that is refused late gets a page: a time-out of the target', async (t) => {
      stage.upstream.respond(() => {})
      isPage(t, await get(t, { path: '/late', fields: NAVIGATES }), 504, 'upstream_timeout')
    })

    t.test('an exchange that is refused late gets a page: a body that grows too large', async (t) => {
      stage.upstream.respond(() => {}, 'head')
      const asked = ask(t, stage.gateway.port, protocol, {
        method: 'POST',
        path: '/small',
        fields: [...NAVIGATES, ['Transfer-Encoding', 'chunked']],
      })
      asked.write('x'.repeat(11))
      isPage(t, await asked.answer, 413, 'body_too_large')
    })

    t.test('an exchange that is refused late gets a page: a body that does not come in time', async (t) => {
      stage.upstream.respond(() => {}, 'head')
      const asked = ask(t, stage.gateway.port, protocol, {
        method: 'POST',
        path: '/upload',
        fields: [...NAVIGATES, ['Content-Length', '100']],
      })
      asked.write('x')
      isPage(t, await asked.answer, 408, 'request_timeout')
    })

    t.test('an exchange that is refused late gets a page: a token that is revoked meanwhile', async (t) => {
      stage.upstream.respond(() => {})
      const row = await insertToken(stage.sql)
      const token = await signToken({ claims: { jti: row.id, exp: inSeconds(3600) } })
      const before = stage.upstream.requests.length
      const fields: Fields = [...NAVIGATES, ['Cookie', `auth_token=${token}`]]
      const answer = get(t, { path: '/secure', fields })
      await until(() => stage.upstream.requests.length > before)
      await stage.sql`update "Token" set status = 'REVOKED' where id = ${row.id}`
      isPage(t, await answer, 401, 'token_revoked')
    })
  })
}

const UNREADABLE: readonly (readonly [what: string, bytes: Buffer, status: number])[] = [
  ['a field without a name', request('GET /', ['Sec-Fetch-Mode: navigate', ': x']), 400],
  ['two lengths', request('POST /', ['Sec-Fetch-Mode: navigate', 'Content-Length: 1, 2']), 400],
  ['fields past the limit', request('GET /', ['Sec-Fetch-Mode: navigate', `X: ${'x'.repeat(20_000)}`]), 431],
]
for (const [what, bytes, status] of UNREADABLE) {
  t.test(
    `a request that cannot be read gets problem+json, whatever it says of itself: ${what}`,
    async (t) => {
      const { responses } = await stage.ask(bytes)
      t.equal(responses[0]!.status, status)
      t.equal(responses[0]!.header('content-type'), JSON_TYPE)
    },
  )
}

t.test('fields past the limit get problem+json over HTTP/2 as well', async (t) => {
  const asked = ask(t, stage.gateway.port, 'HTTP/2', {
    path: '/',
    fields: [...NAVIGATES, ['X', 'x'.repeat(16_200)]],
  })
  asked.end()
  isProblem(t, await asked.answer, 431, 'headers_too_large')
})

t.test('readiness is for programs, also where a browser looks at it', async (t) => {
  const asked = ask(t, stage.gateway.port, 'HTTP/1.1', { path: '/-/readyz', fields: NAVIGATES })
  asked.end()
  t.same((await asked.answer).all('content-type'), ['application/json'])
})
