import t from 'tap'
import {
  AUTHS,
  expectedIdentity,
  FORMS,
  identityOf,
  shot,
  startRange,
  testOverHttp1,
  valuesOf,
} from './support.ts'

const range = await startRange(t)

const SPELLINGS = [
  'X-User-Id',
  'x-user-id',
  'X_User_Id',
  'X.User.Id',
  'x-user_id',
  'X~User~Id',
  'X-USER_ID',
  'X!User#Id',
  'X_Mandate_Id',
  'x.session.id',
  'X|Token|Id',
  'X-Gateway-Admin',
  'x_gateway.role',
]

/** The name of a field in a CGI environment. */
const cgiForm = (name: string) => name.toUpperCase().replace(/[^A-Z0-9]/g, '_')
const SPOOFED = new Set(SPELLINGS.map(cgiForm))

for (const auth of AUTHS) {
  for (const form of FORMS) {
    t.test(`spoofed identity in every spelling, ${auth}, ${form} (CVE-2025-64484)`, async (t) => {
      const fields = SPELLINGS.flatMap((name) => [`${name}: admin`, `${name}: admin`])
      const hit = await range.fire(shot(form, `/${auth}`, [...fields, `Cookie: ${range.cookie}`]))
      t.equal(hit.arrived.length, 1)
      const [request] = hit.arrived
      t.same(identityOf(request!), expectedIdentity(range, auth), 'the identity is the gateway’s own')
      const left = request!.fields.filter(([name, value]) => SPOOFED.has(cgiForm(name)) && value === 'admin')
      t.same(left, [], 'no spelling of it arrived')
    })

    testOverHttp1(
      `Connection cannot remove protected fields, ${auth}, ${form} (CVE-2021-32813)`,
      async (t) => {
        const nominated = 'close, Upgrade, X-User-Id, X-Mandate-Id, Cookie, Host, X-Forwarded-For, X-Mine'
        const hit = await range.fire(
          shot(form, `/${auth}`, [
            `Connection: ${nominated}`,
            'X-User-Id: admin',
            'X-Mine: 1',
            `Cookie: ${range.cookie}; theme=dark`,
          ]),
        )
        t.equal(hit.arrived.length, 1)
        const [request] = hit.arrived
        t.same(identityOf(request!), expectedIdentity(range, auth))
        t.same(valuesOf(request!, 'x-mine'), [], 'another nominated field is dropped')
        t.same(valuesOf(request!, 'host'), ['app.example.com'])
        t.match(valuesOf(request!, 'cookie').join(), /theme=dark/)
        t.equal(valuesOf(request!, 'x-forwarded-for').length, 1)
        t.notMatch(valuesOf(request!, 'connection').join(), /user|cookie|host/i)
      },
    )
  }
}

for (const form of FORMS) {
  t.test(
    `X-User-Id: admin without a token, ${form}: removed on anonymous routes, refused where auth is required`,
    async (t) => {
      for (const auth of ['optional', 'anonymous']) {
        const hit = await range.fire(shot(form, `/${auth}`, ['X-User-Id: admin', 'X_USER_ID: admin']))
        t.equal(hit.arrived.length, 1, auth)
        t.same(identityOf(hit.arrived[0]!), expectedIdentity(range, 'anonymous'), auth)
        t.notMatch(JSON.stringify(hit.arrived), /admin/, auth)
      }
      const hit = await range.fire(shot(form, '/required', ['X-User-Id: admin']))
      t.same([hit.status, hit.code, hit.arrived.length], [401, 'credentials_missing', 0])
    },
  )
}

t.test('a spoofed identity in trailers is never forwarded as a field', async (t) => {
  for (const auth of AUTHS) {
    const head = `POST /${auth} HTTP/1.1\r\nHost: app.example.com\r\nCookie: ${range.cookie}\r\n`
    const hit = await range.fire(
      `${head}Trailer: X-User-Id\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-User-Id: admin\r\nCookie: a=b\r\n\r\n`,
    )
    t.equal(hit.arrived.length, 1)
    t.same(identityOf(hit.arrived[0]!), expectedIdentity(range, auth))
    t.equal(hit.arrived[0]!.body.toString(), 'a')
    t.notMatch(JSON.stringify(hit.arrived[0]!.fields), /admin/)
  }
})

const FORWARDING = [
  'X-Forwarded-For: 10.0.0.1',
  'X_Forwarded_For: 10.0.0.1',
  'X-Forwarded-Proto: https',
  'X-Forwarded-Host: evil.example',
  'X-Forwarded-Port: 1',
  'X-Forwarded-Prefix: /evil',
  'X-Forwarded-Uri: /public',
  'Forwarded: for=10.0.0.1;host=evil.example',
  'X-Real-IP: 10.0.0.1',
  'X-Real_IP: 10.0.0.1',
  'X-Request-Id: evil',
]

for (const form of FORMS) {
  t.test(`forwarding fields of an untrusted peer are replaced or removed, ${form}`, async (t) => {
    const hit = await range.fire(shot(form, '/anonymous', FORWARDING))
    t.equal(hit.arrived.length, 1)
    const [request] = hit.arrived
    t.same(valuesOf(request!, 'x-forwarded-for'), ['127.0.0.1'])
    t.same(valuesOf(request!, 'x-forwarded-proto'), [range.scheme])
    t.same(valuesOf(request!, 'x-forwarded-host'), ['app.example.com'])
    t.same(valuesOf(request!, 'forwarded'), [])
    t.notMatch(JSON.stringify(request!.fields), /evil|10\.0\.0\.1/)
  })

  t.test(`X-Original-URL and similar fields do not affect routing, ${form}`, async (t) => {
    const fields = [
      'X-Forwarded-Uri: /public',
      'X-Original-URL: /public',
      'X-Rewrite-URL: /public',
      'X-HTTP-Method-Override: OPTIONS',
      'X-HTTP-Method: OPTIONS',
      'X-Forwarded-Host: open.example',
    ]
    const guarded = await range.fire(shot(form, '/admin', fields))
    t.same([guarded.status, guarded.arrived.length], [401, 0])
    const open = await range.fire(
      shot(form, '/public', ['X-Original-URL: /admin', `X-HTTP-Method-Override: DELETE`]),
    )
    t.same(
      open.arrived.map(({ method, target }) => [method, target]),
      [['GET', '/public']],
    )
  })
}
