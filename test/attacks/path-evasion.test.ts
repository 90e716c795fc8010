import t from 'tap'
import { expectMalformed, FORMS, shot, startRange, testOverHttp1, valuesOf } from './support.ts'

const range = await startRange(t)

/** Refused on every route, since backends read them in different ways. */
const AMBIGUOUS = [
  '/public/../admin',
  '/public/./admin',
  '/public/..',
  '/public/%2e%2e/admin',
  '/public/%2E%2e/admin',
  '/public/.%2e/admin',
  '/public/..%2fadmin',
  '/public%2f..%2fadmin',
  '/public/..;/admin',
  '/public/..;x=1/admin',
  '/public/..%3b/admin',
  '/public/%2e%2e%3bx/admin',
  '/public\\..\\admin',
  '/public/..\\admin',
  '/public%5c..%5cadmin',
  '/public%5C..%5Cadmin',
  '/public%00/../admin',
  '/admin%00',
  '/public/%',
  '/public/%2',
  '/public/%zz',
  '/public/%u002e%u002e/admin',
  '/admin;x',
  '/admin;x/y',
  '/public;x',
  '/admin;/../public',
  '/admin%2fx',
  '/%2fadmin',
  '/%2Fpublic',
  '/public%2fx',
  '/public/x;%2f..%2f..%2fadmin',
  '/public/%2e%2e%2fadmin',
]

for (const form of FORMS) {
  t.test(`ambiguous paths are refused, ${form} (CVE-2019-9901, CVE-2025-66490)`, async (t) => {
    for (const target of AMBIGUOUS) {
      for (const fields of [[], [`Cookie: ${range.cookie}`]]) {
        const hit = await range.fire(shot(form, target, fields))
        t.same([hit.status, hit.code, hit.arrived], [400, 'bad_request', []], target)
      }
    }
  })

  t.test(`other spellings of a guarded path have its route, ${form}`, async (t) => {
    const spellings = [
      '/%61dmin',
      '/%41dmin/../admin',
      '//admin',
      '/a%64min/x',
      '/admin?x=/public',
      '/./admin',
    ]
    for (const target of [...spellings, '///admin//', '/admin?x=/../public', '/admin/%252e%252e/public']) {
      const hit = await range.fire(shot(form, target, []))
      t.ok(hit.status === 400 || hit.code === 'credentials_missing', `${target}: ${hit.status}`)
      t.same(hit.arrived, [], target)
    }
  })

  t.test(`a fragment in a target does not hide a guarded path, ${form}`, async (t) => {
    const hit = await range.fire(shot(form, '/admin#/public', []))
    t.ok(hit.status === 400 || hit.code === 'credentials_missing', String(hit.status))
    t.same(hit.arrived, [])
  })

  t.test(`with a token the bytes that were matched are forwarded, ${form}`, async (t) => {
    for (const target of ['/%61dmin', '//admin', '/admin?x=/public', '/admin/%252e%252e/x', '/admin/a;v=1']) {
      const hit = await range.fire(shot(form, target, [`Cookie: ${range.cookie}`]))
      t.same(
        hit.arrived.map((request) => [request.target, valuesOf(request, 'x-user-id')]),
        [[target, ['alice']]],
        target,
      )
    }
  })
}

t.test('//host/ and absolute-form targets never change where a request goes (SSRF)', async (t) => {
  for (const target of ['//10.0.0.1/', '//10.0.0.1/admin', '///evil.example/x']) {
    const hit = await range.fire(shot('request', target, []))
    t.same(
      hit.arrived.map((request) => [request.target, valuesOf(request, 'host')]),
      [[target, ['app.example.com']]],
      target,
    )
  }
  const foreign = [
    'http://10.0.0.1/public',
    'http://evil.example/public',
    `${range.scheme === 'http' ? 'https' : 'http'}://app.example.com/public`,
    'ftp://app.example.com/public',
    'http://app.example.com@evil.example/public',
    'http://app.example.com:81/public',
    'http:/public',
    'http:///public',
    'evil.example:80',
    'public',
    '*',
    '?x',
  ]
  for (const target of foreign) {
    for (const form of FORMS) {
      const hit = await range.fire(shot(form, target, []))
      expectMalformed(t, hit, 'bad_request', `${form} ${target}`)
    }
  }
})

testOverHttp1('an absolute-form target with the own authority is routed by its path', async (t) => {
  const open = await range.fire(shot('request', `${range.scheme}://app.example.com/public`, []))
  t.same(
    open.arrived.map((request) => [request.target, valuesOf(request, 'host')]),
    [['/public', ['app.example.com']]],
  )
  const guarded = await range.fire(shot('request', `${range.scheme}://app.example.com/admin`, []))
  t.same([guarded.status, guarded.arrived], [401, []])
})

const HOSTS: Record<string, string[]> = {
  none: [],
  empty: ['Host:'],
  two: ['Host: app.example.com', 'Host: evil.example'],
  'two equal': ['Host: app.example.com', 'Host: app.example.com'],
  userinfo: ['Host: a@b'],
  path: ['Host: app.example.com/public'],
  space: ['Host: app.example.com evil'],
  list: ['Host: app.example.com, evil.example'],
  'bad port': ['Host: app.example.com:x'],
  control: ['Host: app\x01.example.com'],
}

for (const [what, hosts] of Object.entries(HOSTS)) {
  t.test(`a Host field that does not name one host is a 400: ${what}`, async (t) => {
    for (const path of ['/public', '/required', '/optional']) {
      const head = [`GET ${path} HTTP/1.1`, ...hosts, `Cookie: ${range.cookie}`, '', ''].join('\r\n')
      const hit = await range.fire(head)
      expectMalformed(t, hit, 'bad_request', path)
    }
  })
}

t.test('OPTIONS * is refused, CONNECT and TRACE are not allowed and open no tunnel', async (t) => {
  const star = await range.fire('OPTIONS * HTTP/1.1\r\nHost: app.example.com\r\n\r\n')
  t.same([star.status, star.arrived], [400, []])
  for (const line of [
    'CONNECT 10.0.0.1:80',
    'CONNECT app.example.com:443',
    'TRACE /public',
    'TRACE /admin',
  ]) {
    const hit = await range.fire(`${line} HTTP/1.1\r\nHost: app.example.com\r\n\r\n`)
    t.same([hit.status, hit.code, hit.arrived], [405, 'method_not_allowed', []], line)
    t.ok(hit.responses[0]!.header('allow'), 'Allow is told')
  }
})
