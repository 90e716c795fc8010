import postgres from 'postgres'
import t from 'tap'
import { startGateway } from '../support/gateway.ts'
import { startOtlpCollector } from '../support/otlp-collector.ts'
import { insertToken, startPostgres } from '../support/postgres.ts'
import { freePort } from '../support/raw-backend.ts'
import { rawRequest } from '../support/raw-http.ts'
import { forgeToken, inSeconds, signToken, TEST_SECRET } from '../support/tokens.ts'
import { startRecordingUpstream } from '../support/upstream.ts'
import { answerAll, askerOverHttp2, certificateFor, FORMS, type Form, shot, TRANSPORT } from './support.ts'

const DATABASE_PASSWORD = 'the-password-of-the-database'

t.test(
  'no answer, log line, metric, span or status contains a token, cookie, key or target address',
  async (t) => {
    const [database, upstream, collector] = await Promise.all([
      startPostgres(),
      startRecordingUpstream(answerAll),
      startOtlpCollector(),
    ])
    t.teardown(() => Promise.all([database.close(), upstream.close(), collector.close()]))
    const plainUrl = await database.createDatabase()
    const url = new URL(plainUrl)
    url.password = DATABASE_PASSWORD
    const sql = postgres(plainUrl, { max: 1, onnotice: () => {} })
    const rows = await Promise.all([
      insertToken(sql),
      insertToken(sql, { status: 'REVOKED' }),
      insertToken(sql, { expiresAt: Date.now() - 1000 }),
      insertToken(sql, { userId: 'bad\nvalue' }),
    ])
    await sql.end()
    const dead = await freePort()
    const certificate = certificateFor(t)
    const gateway = await startGateway({
      databaseUrl: url.href,
      routing: {
        upstreams: { main: { targets: [upstream.url] }, dead: { targets: [`http://127.0.0.1:${dead}`] } },
        routes: [
          { path: '/required', upstream: 'main' },
          { path: '/optional', upstream: 'main', auth: 'optional' },
          { path: '/dead', upstream: 'dead' },
          { path: '/page', upstream: 'main', loginRedirect: '/login?next={path}' },
        ],
      },
      env: {
        LOG_LEVEL: 'trace',
        LOOKUP_TIMEOUT_MS: '300',
        SESSION_ENDPOINTS: 'on',
        OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
        OTEL_BSP_MAX_QUEUE_SIZE: '100000',
        ...(certificate === null
          ? {}
          : { TLS_CERT_FILE: certificate.certFile, TLS_KEY_FILE: certificate.keyFile }),
      },
    })
    t.teardown(() => gateway.stop())
    const send =
      TRANSPORT === 'http2'
        ? askerOverHttp2(t, gateway.port)
        : (bytes: string) => rawRequest(gateway.port, bytes)

    const tokens = await Promise.all([
      ...rows.map(({ id }) => signToken({ claims: { jti: id, exp: inSeconds(600) } })),
      signToken({ claims: { jti: rows[0]!.id, exp: inSeconds(-600) } }),
      signToken({ claims: { jti: rows[0]!.id, exp: inSeconds(600), userId: 'mallory' } }),
      signToken({ claims: { jti: 'unknown-id', exp: inSeconds(600), type: 'refresh' } }),
      signToken({
        claims: { jti: 'unknown-id', exp: inSeconds(600) },
        secret: 'another secret that signs nothing here',
      }),
    ])
    tokens.push(forgeToken({ alg: 'none' }, { jti: rows[0]!.id, exp: inSeconds(600) }, 'forged-signature'))
    const opaque = [
      'session-cookie-value-1',
      'refresh-cookie-value-2',
      'query-secret-value-3',
      'header-secret-value-4',
    ]
    const answers: string[] = []

    async function ask(path: string, token: string, form: Form): Promise<void> {
      const fields = [
        `Cookie: auth_token=${token}; refresh_token=${opaque[1]}; session=${opaque[0]}`,
        `Authorization: Bearer ${opaque[3]}`,
        'Accept: text/html',
        'Sec-Fetch-Mode: navigate',
      ]
      const query = `access_token=${opaque[2]}&token=${token}${token.includes('.') ? `&x=${token}` : ''}`
      const { raw } = await send(shot(form, `${path}?${query}`, fields))
      const text = raw.toString('latin1')
      // The redirect to the login repeats the path of the request to the client that sent it, and to nobody else.
      answers.push(path === '/page' ? text.replace(/^location:.*$/im, '') : text)
    }

    async function askAll(): Promise<void> {
      for (const form of FORMS) {
        for (const path of [
          '/required',
          '/optional',
          '/dead',
          '/page',
          '/none',
          '/-/whoami',
          '/required/../x',
        ]) {
          for (const token of [...tokens, opaque[0]!]) await ask(path, token, form)
        }
      }
      await send(
        `POST /-/refresh HTTP/1.1\r\nHost: app.example.com\r\nOrigin: ${certificate === null ? 'http' : 'https'}://app.example.com\r\nCookie: refresh_token=${tokens[0]}\r\nContent-Length: 0\r\n\r\n`,
      ).then(({ raw }) => answers.push(raw.toString('latin1').replace(/^set-cookie:.*$/gim, '')))
      const { raw } = await send(
        `GET /required HTTP/1.1\r\nHost : a\r\nCookie: auth_token=${tokens[0]}\r\n\r\n`,
      )
      answers.push(raw.toString('latin1'))
    }

    await askAll()
    upstream.respond((_request, socket) => void socket.write('HTTP/1.1 abc\r\n\r\n'))
    await askAll()
    upstream.respond((_request, socket) => void socket.destroy())
    await askAll()
    upstream.respond(answerAll)
    await database.stop('immediate')
    await askAll()

    for (const path of ['/metrics', '/', '/status', '/status.json', '/ready']) {
      const answer = await fetch(`http://127.0.0.1:${gateway.adminPort}${path}`)
      answers.push(await answer.text())
    }
    const openMetrics = { headers: { Accept: 'application/openmetrics-text' } }
    const exemplars = await fetch(`http://127.0.0.1:${gateway.adminPort}/metrics`, openMetrics)
    answers.push(await exemplars.text())
    gateway.signal('SIGTERM')
    await gateway.exited
    const spans = collector.spans.map((span) => JSON.stringify(span))
    t.ok(spans.length > 200, 'a whole run was traced')
    t.ok(gateway.lines.filter(({ msg }) => msg === 'request').length > 200, 'a whole run was logged')
    t.ok(gateway.output().includes('"code":"token_store_unavailable"'), 'with a failing database')
    t.ok(gateway.output().includes('"code":"upstream_unreachable"'), 'and failing upstreams')

    const secrets = [TEST_SECRET, DATABASE_PASSWORD, ...opaque, ...tokens]
    // Parts of a token count as well, since they may be enough for somebody who knows the rest.
    for (const token of tokens)
      secrets.push(
        ...token
          .split('.')
          .slice(1)
          .filter((part) => part.length > 8),
      )
    for (const secret of new Set(secrets)) {
      const where = answers.find((answer) => answer.includes(secret))
      t.equal(where, undefined, `no answer holds ${secret.slice(0, 12)}…`)
      const line = gateway
        .output()
        .split('\n')
        .find((each) => each.includes(secret))
      t.equal(line, undefined, `no log line holds ${secret.slice(0, 12)}…`)
      const span = spans.find((each) => each.includes(secret))
      t.equal(span, undefined, `no span holds ${secret.slice(0, 12)}…`)
    }
    const toClients = answers.filter((answer) => answer.startsWith('HTTP/1.1')).join('\n')
    for (const address of [`127.0.0.1:${dead}`, `:${upstream.port}`, `:${database.port}`]) {
      t.notOk(toClients.includes(address), `no answer holds the address ${address}`)
    }
    t.notMatch(toClients, /node:internal|\.ts:\d+|at \w+ \(/, 'no answer holds a stack')
  },
)
