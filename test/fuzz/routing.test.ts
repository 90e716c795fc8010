import fc from 'fast-check'
import t from 'tap'
import { startRange, valuesOf } from '../attacks/support.ts'
import type { StrictRequest } from '../support/strict-http.ts'
import { check, FUZZ_RUNS } from './support.ts'

/** Which paths need a token, nested both ways. */
const GUARDED = ['/admin', '/open/secret', '/open/secret/x', '/a+b', '/@me']
const OPEN = ['/open', '/admin/login', '/open/secret/public', '/']

const ROUTES = [
  ...GUARDED.filter((path) => path !== '/admin').map((path) => ({ path })),
  ...OPEN.filter((path) => path !== '/').map((path) => ({ path, auth: 'none' })),
]

/** Runs on one backend. It records all bytes, so that it is replaced after this number. */
const RUNS_EACH = 2000

const PIECES = [
  ...[
    '/',
    '/',
    '/',
    '//',
    '/./',
    '/../',
    '\\',
    '/admin',
    '/open',
    'secret',
    'public',
    'login',
    'a+b',
    '@me',
    'x',
  ],
  ...[
    '%61dmin',
    '%41dmin',
    'ADMIN',
    'sec%72et',
    'a%2bb',
    'a%2Bb',
    '%40me',
    '%2f',
    '%2F',
    '%5c',
    '%00',
    '%25',
    '%2561',
  ],
  ...[
    ';',
    ';x',
    ';x=/admin',
    '%3b',
    '.',
    '..',
    '%2e',
    '%2e%2e',
    '..;',
    '?',
    '?x=/../admin',
    '#',
    '%',
    '%zz',
    '\xe9',
  ],
]

const target = fc
  .array(fc.constantFrom(...PIECES), { minLength: 1, maxLength: 8 })
  .map((pieces) => `/${pieces.join('')}`)

/** What a backend may do with a path before it looks it up. */
const READINGS = [
  { parameters: false, dots: false },
  { parameters: true, dots: false },
  { parameters: false, dots: true },
  { parameters: true, dots: true },
]

function landsOn(target: string, { parameters, dots }: (typeof READINGS)[number]): string {
  const path = target
    .replace(/[?#].*$/s, '')
    .replace(/%([\da-f]{2})/gi, (_, hex) => String.fromCharCode(parseInt(hex, 16)))
  const segments: string[] = []
  for (const whole of path.split(/[/\\]/)) {
    const segment = parameters ? whole.replace(/;.*$/s, '') : whole
    if (dots && segment === '..') segments.pop()
    else if (segment !== '' && !(dots && segment === '.')) segments.push(segment)
  }
  return `/${segments.join('/')}`
}

/** The route with the longest prefix by whole segments. */
function needsToken(path: string): boolean {
  const below = (prefix: string) => prefix === '/' || path === prefix || path.startsWith(`${prefix}/`)
  const longest = [...GUARDED, ...OPEN].filter(below).sort((a, b) => b.length - a.length)[0]!
  return GUARDED.includes(longest)
}

function judge(request: StrictRequest): void {
  if (valuesOf(request, 'x-user-id').length > 0) throw new Error('an identity from nowhere')
  for (const reading of READINGS) {
    const path = landsOn(request.target, reading)
    if (needsToken(path)) throw new Error(`${request.target} came without a token and lands on ${path}`)
  }
}

for (let done = 0; done < FUZZ_RUNS; done += RUNS_EACH) {
  const runs = Math.min(RUNS_EACH, FUZZ_RUNS - done)
  t.test(
    `no request target reaches a guarded route's resource at a backend without a token, ${done} on`,
    async (t) => {
      const range = await startRange(t, { routes: ROUTES })
      const tally = { arrived: 0, refused: 0 }
      const property = fc.asyncProperty(target, async (target) => {
        const hit = await range.fire(
          `GET ${target} HTTP/1.1\r\nHost: app.example.com\r\nConnection: close\r\n\r\n`,
        )
        if (hit.status >= 400) tally.refused++
        if (hit.status === 200 && hit.arrived.length !== 1) throw new Error(`${hit.arrived.length} arrived`)
        for (const request of hit.arrived) {
          tally.arrived++
          judge(request)
        }
      })
      await check(t, property, runs, done)
      t.comment(JSON.stringify(tally))
      t.ok(tally.arrived > runs / 20, 'some were let through')
    },
  )
}
