import { randomBytes } from 'node:crypto'
import type { Socket } from 'node:net'
import t, { type Test } from 'tap'
import { createAuthority } from '../support/certificates.ts'
import { type Ask, ask, type EitherAnswer, PROTOCOLS } from '../support/either-client.ts'
import { until } from '../support/plain-gateway.ts'
import { freePort } from '../support/raw-backend.ts'
import { startStage } from '../support/stage.ts'
import { answerOk } from '../support/upstream.ts'

/*
 * Behaviour that is the same for HTTP/1.1 and HTTP/2 over TLS. What differs is tested in the other files.
 */

const { certFile, keyFile } = createAuthority(t, 'the edge').issue('app', ['DNS:app.example.com'])
const stage = await startStage({
  upstream: { retries: 0, timeouts: { connect: '1s', response: '500ms', idle: '500ms' } },
  upstreams: {
    gone: { targets: [`http://127.0.0.1:${await freePort()}`], retries: 0 },
    literal: { targets: ['http://127.0.0.1:1'], host: 'inner.example' },
  },
  routes: [
    { path: '/strip', auth: 'none', stripPrefix: true },
    { path: '/gone', auth: 'none', upstream: 'gone' },
    { path: '/small', auth: 'none', maxBodyBytes: 1000 },
    { path: '/ops', mandates: ['ops'] },
    { path: '/login', loginRedirect: '/login-form?next={path}' },
    {
      path: '/edit',
      auth: 'none',
      requestHeaders: { set: { 'X-Set': 'by the route', 'X-Replaced': 'new' }, remove: ['X-Removed'] },
      responseHeaders: { set: { 'Cache-Control': 'private' }, remove: ['Server'] },
    },
  ],
  env: { TLS_CERT_FILE: certFile, TLS_KEY_FILE: keyFile },
})
t.teardown(() => stage.close())
t.afterEach(() => stage.upstream.respond(answerOk))

const BODY = randomBytes(300_000)
const COOKIE = ['Cookie', stage.cookie] as const

function answering(bytes: string): void {
  stage.upstream.respond((_request, socket) => socket.write(Buffer.from(bytes, 'latin1')))
}

/** Lets the backend not answer, and returns the exchange's connection once the request's head has arrived. */
async function held(head = '') {
  const socket = await new Promise<Socket>((resolve) => {
    stage.upstream.respond((_request, socket) => {
      if (head !== '') socket.write(head)
      resolve(socket)
    }, 'head')
  })
  return stage.upstream.connections.find((each) => each.socket === socket)!
}

for (const protocol of PROTOCOLS) {
  const send = (t: Test, request: Ask) => ask(t, stage.port, protocol, request)
  const whole = (t: Test, request: Ask, body?: Buffer | string): Promise<EitherAnswer> => {
    const asked = send(t, request)
    asked.end(body)
    return asked.answer
  }
  /** The answer, and what the backend got. */
  async function through(t: Test, request: Ask, body?: Buffer | string) {
    const before = stage.upstream.requests.length
    const answer = await whole(t, request, body)
    return { answer, got: stage.upstream.requests[before]! }
  }
  async function refused(t: Test, request: Ask, [status, code]: readonly [number, string]) {
    const answer = await whole(t, request)
    t.equal(answer.status, status)
    t.same(answer.all('content-type'), ['application/problem+json'])
    t.match(JSON.parse(answer.body.toString()), { code, requestId: answer.all('x-request-id')[0] })
    return answer
  }

  t.test(protocol, async (t) => {
    t.afterEach(() => stage.upstream.respond(answerOk))

    for (const path of [
      '/a%20b%C3%A9%7E%41',
      '//a///b',
      "/!$&'()*+,;=:@-._~",
      '/?',
      '/x?a=b&a&%zz&/../..&"<>^`{|}',
      '/@scope%2fname',
      '/%24%3A%2Fplugins%2Fx',
    ]) {
      await t.test(`the target ${path} reaches the backend byte for byte`, async (t) => {
        t.equal((await through(t, { path })).got.target, path)
      })
    }

    await t.test('stripPrefix removes the prefix of the raw target', async (t) => {
      t.equal((await through(t, { path: '/%73trip/a%20b//c?x=%2F' })).got.target, '/a%20b//c?x=%2F')
    })

    for (const path of [
      '/a/../secure',
      '/a/%2e%2e/secure',
      '/secure%2fb',
      '/a%2f..%2fb',
      '/a%00',
      '/a\\b',
      '/%zz',
      '/a;x/..;/b',
    ]) {
      await t.test(`path evasion by ${path} is a 400`, async (t) => {
        await refused(t, { path }, [400, 'bad_request'])
      })
    }

    for (const method of ['POST', 'PUT', 'PATCH', 'DELETE', 'GET', 'OPTIONS']) {
      for (const fields of [
        [['Content-Length', String(BODY.length)]],
        [['Transfer-Encoding', 'chunked']],
      ] as const) {
        await t.test(`${method} passes its body with ${fields[0][0]}`, async (t) => {
          const { answer, got } = await through(t, { method, path: '/body', fields }, BODY)
          t.equal(answer.status, 200)
          t.equal(got.method, method)
          t.ok(got.body.equals(BODY))
          t.same(got.all('content-length'), fields[0][0] === 'Content-Length' ? [String(BODY.length)] : [])
        })
      }
    }

    await t.test('fields keep order, values and duplicates; nothing else is added', async (t) => {
      const fields = [
        ['Accept', '*/*'],
        ['X-Twice', '1'],
        ['X-Twice', '2'],
        ['X-Other', 'a,b ;c="d"'],
        ['X-Empty', ''],
      ] as const
      const { got } = await through(t, { path: '/', fields })
      const sent = fields.map(([name, value]) => [name.toLowerCase(), value])
      const names = new Set(sent.map(([name]) => name))
      const lower = got.headers.map(([name, value]) => [name.toLowerCase(), value] as const)
      t.same(
        lower.filter(([name]) => names.has(name)),
        sent,
      )
      t.same(
        lower
          .map(([name]) => name)
          .filter((name) => !names.has(name) && name !== 'connection' && name !== 'transfer-encoding')
          .sort(),
        ['host', 'traceparent', 'x-forwarded-for', 'x-forwarded-host', 'x-forwarded-proto', 'x-request-id'],
      )
    })

    await t.test('the identity comes from the row, and no spoofed identity passes', async (t) => {
      const spoofed = [
        'X-User-Id',
        'X_User_Id',
        'X.User.Id',
        'X~User~Id',
        'X-Gateway-Anything',
        'X-Mandate-Id',
      ]
      for (const path of ['/secure', '/']) {
        const { got } = await through(t, {
          path,
          fields: [...spoofed.map((name) => [name, 'mallory'] as const), COOKIE, ['X-Real-IP', '6.6.6.6']],
        })
        t.same(
          got.headers.filter(([, value]) => value === 'mallory' || value === '6.6.6.6'),
          [],
        )
        t.same(got.all('x-user-id'), path === '/secure' ? ['alice'] : [])
        t.same(got.all('x-forwarded-for'), ['127.0.0.1'])
        t.same(got.all('x-forwarded-proto'), ['https'])
      }
    })

    await t.test('token cookies are removed, others pass as one field', async (t) => {
      const { got } = await through(t, {
        path: '/secure',
        fields: [['Cookie', `a=1; ${stage.cookie}; refresh_token=r; b=2`]],
      })
      t.same(got.all('cookie'), ['a=1; b=2'])
    })

    await t.test('Host passes unchanged', async (t) => {
      const { got } = await through(t, { path: '/', host: 'App.Example.COM:8080' })
      t.same(got.all('host'), ['App.Example.COM:8080'])
      t.same(got.all('x-forwarded-host'), ['App.Example.COM:8080'])
    })

    for (const host of ['a@b', 'a b', '', 'app.example.com:99999']) {
      await t.test(`the host ${JSON.stringify(host)} never reaches a backend`, async (t) => {
        const before = stage.upstream.requests.length
        const status = await whole(t, { path: '/', host }).then(
          (answer) => answer.status,
          () => 400,
        )
        t.equal(status, 400)
        t.equal(stage.upstream.requests.length, before)
      })
    }

    await t.test('the route edits the fields of requests and answers', async (t) => {
      answering('HTTP/1.1 200 OK\r\nServer: inner\r\nCache-Control: public\r\nContent-Length: 0\r\n\r\n')
      const fields = [
        ['X-Replaced', 'old'],
        ['X-Removed', '1'],
        ['X-Kept', '1'],
      ] as const
      const { got, answer } = await through(t, { path: '/edit', fields })
      t.same(
        ['x-set', 'x-replaced', 'x-removed', 'x-kept'].map((name) => got.all(name)),
        [['by the route'], ['new'], [], ['1']],
      )
      t.same([answer.all('cache-control'), answer.all('server')], [['private'], []])
    })

    await t.test(
      'fields of an answer keep order and duplicates; hop-by-hop fields are removed',
      async (t) => {
        answering(
          'HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nX-B: \u00e9\r\nSet-Cookie: b=2\r\nConnection: X-Hop\r\nX-Hop: 1\r\n' +
            'Proxy-Authenticate: Basic\r\nX-Request-Id: backend\r\nContent-Length: 2\r\n\r\nok',
        )
        const { answer, got } = await through(t, { path: '/' })
        t.same(answer.all('set-cookie'), ['a=1', 'b=2'])
        t.same(answer.all('x-b'), ['\u00e9'])
        t.same([...answer.all('x-hop'), ...answer.all('proxy-authenticate')], [])
        t.same(answer.all('x-request-id'), got.all('x-request-id'))
      },
    )

    for (const status of [201, 204, 206, 301, 304, 308, 401, 404, 500, 503]) {
      await t.test(`the backend's own ${status} passes`, async (t) => {
        const body = status === 204 || status === 304 ? '' : 'mine'
        const length = status === 204 ? '' : `Content-Length: ${body.length}\r\n`
        answering(`HTTP/1.1 ${status} Its Words\r\nLocation: /x\r\n${length}\r\n${body}`)
        const answer = await whole(t, { path: '/' })
        t.equal(answer.status, status)
        t.same(answer.all('location'), ['/x'])
        t.equal(answer.body.toString(), body)
        t.ok(answer.complete)
      })
    }

    await t.test('HEAD has the fields and no body', async (t) => {
      answering('HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n')
      const answer = await whole(t, { method: 'HEAD', path: '/' })
      t.same(answer.all('content-length'), ['5'])
      t.equal(answer.body.length, 0)
      t.ok(answer.complete)
    })

    await t.test('a chunked answer arrives whole with its trailers, after interim answers', async (t) => {
      answering(
        'HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n' +
          'HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 42\r\n\r\n',
      )
      const asked = send(t, { path: '/' })
      asked.end()
      const answer = await asked.answer
      t.same(asked.interim, [102, 103])
      t.equal(answer.body.toString(), 'ok')
      t.equal(answer.trailers['x-sum'], '42')
    })

    for (const [what, request, refusal] of [
      ['no token', { path: '/secure' }, [401, 'credentials_missing']],
      [
        'a token that is none',
        { path: '/secure', fields: [['Cookie', 'auth_token=x']] },
        [401, 'token_invalid'],
      ],
      ['a foreign mandate', { path: '/ops', fields: [COOKIE] }, [403, 'mandate_forbidden']],
      [
        'a foreign origin',
        { method: 'POST', path: '/secure', fields: [COOKIE, ['Origin', 'https://evil.example']] },
        [403, 'origin_forbidden'],
      ],
      ['TRACE', { method: 'TRACE', path: '/' }, [405, 'method_not_allowed']],
      [
        'a body past the limit',
        { method: 'POST', path: '/small', fields: [['Content-Length', '1001']] },
        [413, 'body_too_large'],
      ],
      [
        'an expectation that is unknown',
        { path: '/', fields: [['Expect', 'magic']] },
        [417, 'expectation_failed'],
      ],
      ['a target that is not there', { path: '/gone' }, [502, 'upstream_unreachable']],
    ] as const) {
      await t.test(`${what}: ${refusal[0]} ${refusal[1]}`, async (t) => {
        const asked = send(t, request)
        if (!request.fields?.some(([name]) => name === 'Content-Length')) asked.end()
        const { status, body } = await asked.answer
        t.equal(status, refusal[0])
        t.match(JSON.parse(body.toString()), { code: refusal[1] })
      })
    }

    await t.test('a navigation without a token is redirected to the login', async (t) => {
      const fields = [
        ['Accept', 'text/html'],
        ['Sec-Fetch-Mode', 'navigate'],
      ] as const
      const answer = await whole(t, { path: '/login?x=1', fields })
      t.equal(answer.status, 303)
      t.same(answer.all('location'), ['/login-form?next=%2Flogin%3Fx%3D1'])
    })

    for (const [what, bytes, refusal] of [
      ['a reset before the answer', null, [502, 'upstream_reset']],
      [
        'two lengths',
        'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 5\r\n\r\nokok',
        [502, 'upstream_invalid'],
      ],
      ['no HTTP at all', 'SSH-2.0-OpenSSH_9.6\r\n', [502, 'upstream_invalid']],
      [
        'a 101 that nobody asked for',
        'HTTP/1.1 101 X\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n',
        [502, 'upstream_invalid'],
      ],
      ['no answer in time', '', [504, 'upstream_timeout']],
    ] as const) {
      await t.test(`a backend with ${what}: ${refusal[0]} ${refusal[1]}`, async (t) => {
        stage.upstream.respond((_request, socket) => {
          if (bytes === null) socket.resetAndDestroy()
          else socket.write(bytes)
        })
        await refused(t, { path: '/' }, refusal)
      })
    }

    for (const head of [
      'Content-Length: 100\r\n\r\npart',
      'Transfer-Encoding: chunked\r\n\r\n4\r\npart\r\n',
    ]) {
      for (const [how, breakOff] of [
        ['is reset', (socket: Socket) => socket.resetAndDestroy()],
        ['ends', (socket: Socket) => socket.end()],
        ['falls silent', () => {}],
      ] as const) {
        await t.test(
          `an answer with ${head.split(':')[0]} that ${how} does not look complete to the client`,
          async (t) => {
            const backend = held(`HTTP/1.1 200 OK\r\n${head}`)
            const asked = send(t, { path: '/cut' })
            asked.end()
            await asked.sees('part')
            breakOff((await backend).socket)
            const answer = await asked.answer
            t.notOk(answer.complete)
            t.equal(answer.body.toString(), 'part')
          },
        )
      }
    }

    await t.test('100 is sent once the request is admitted, and not before', async (t) => {
      const expect = [
        ['Expect', '100-continue'],
        ['Content-Length', '4'],
      ] as const
      const denied = send(t, { method: 'POST', path: '/secure', fields: expect })
      t.equal((await denied.head).status, 401)
      t.same(denied.interim, [])
      denied.leave()
      const admitted = send(t, { method: 'POST', path: '/secure', fields: [...expect, COOKIE] })
      await until(() => admitted.interim.includes(100))
      admitted.end('body')
      t.equal((await admitted.answer).status, 200)
      t.equal(stage.upstream.requests.at(-1)!.body.toString(), 'body')
    })

    await t.test('each event of a stream arrives when the backend sends it', async (t) => {
      const backend = held(
        'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n',
      )
      const asked = send(t, { path: '/secure/events', fields: [COOKIE] })
      asked.end()
      t.equal((await asked.head).status, 200, 'the head alone is there before any event')
      const { socket } = await backend
      for (let n = 0; n < 5; n++) {
        socket.write(`8\r\ndata: ${n}\n\r\n`)
        await asked.sees(`data: ${n}`)
      }
      socket.write('0\r\n\r\n')
      t.ok((await asked.answer).complete)
    })

    await t.test('an upload continues piece by piece while its early answer streams', async (t) => {
      const backend = held('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n')
      const asked = send(t, { method: 'POST', path: '/both', fields: [['Transfer-Encoding', 'chunked']] })
      asked.write('start')
      t.equal((await asked.head).status, 200)
      const connection = await backend
      for (const word of ['ping1', 'ping2']) {
        asked.write(word)
        await connection.sees(word)
        connection.socket.write(`6\r\npong-${word.at(-1)}\r\n`)
        await asked.sees(`pong-${word.at(-1)}`)
      }
      asked.end()
      await connection.sees('0\r\n\r\n')
      connection.socket.write('0\r\n\r\n')
      t.equal((await asked.answer).body.toString(), 'pong-1pong-2')
    })

    await t.test(
      "a client that leaves before or during the answer, or during its upload, ends the backend's exchange",
      async () => {
        for (const [head, method, chunk] of [
          ['', 'GET', null],
          ['HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n', 'GET', null],
          ['', 'POST', 'half'],
        ] as const) {
          const backend = held(head)
          const asked = send(t, {
            method,
            path: '/leave',
            fields: chunk === null ? [] : [['Content-Length', '1000']],
          })
          if (chunk === null) asked.end()
          else asked.write(chunk)
          const connection = await backend
          if (head !== '') await asked.sees('part')
          if (chunk !== null) await connection.sees(chunk)
          asked.leave()
          await connection.closed
        }
      },
    )
  })
}
