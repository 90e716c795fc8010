import t from 'tap'
import { wantsPage } from '../../gateway/http/page-preference.ts'

const BROWSER = 'text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8'

const PAGES: readonly (readonly [string, Record<string, string>])[] = [
  ['a navigation by Fetch Metadata', { 'sec-fetch-mode': 'navigate' }],
  ['a navigation whose Accept says otherwise', { 'sec-fetch-mode': 'navigate', accept: 'application/json' }],
  ['an older browser', { accept: BROWSER }],
  ['HTML alone', { accept: 'text/html' }],
  ['HTML with parameters, in capitals', { accept: 'TEXT/HTML; charset=utf-8; q=0.9' }],
  ['any text', { accept: 'text/*' }],
  ['HTML before anything', { accept: '*/*, text/html' }],
  ['HTML of more weight', { accept: 'application/json;q=0.5, text/html;q=0.6' }],
  ['HTML first', { accept: 'text/html, application/json' }],
  ['HTML and no JSON', { accept: '*/*, application/json;q=0, application/problem+json;q=0' }],
]
for (const [what, headers] of PAGES)
  t.test(`wants a page: ${what}`, async (t) => t.ok(wantsPage({ headers })))

const NO_PAGES: readonly (readonly [string, Record<string, string>])[] = [
  ['nothing said', {}],
  ['a program that takes anything', { accept: '*/*' }],
  ['an empty Accept', { accept: '' }],
  ['JSON', { accept: 'application/json' }],
  ['JSON before HTML', { accept: 'application/json, text/html' }],
  ['JSON of more weight', { accept: 'text/html;q=0.5, application/problem+json' }],
  ['as axios asks', { accept: 'application/json, text/plain, */*' }],
  ['HTML without weight', { accept: 'text/html;q=0' }],
  ['HTML without weight, and anything', { accept: 'text/html;q=0.0, */*;q=0.1' }],
  ['a type that only looks like it', { accept: 'text/htmlx, xtext/html' }],
  ['an image', { accept: 'image/avif,image/webp,*/*;q=0.8' }],
  ['a script that fetches', { 'sec-fetch-mode': 'cors', accept: BROWSER }],
  ['an image by Fetch Metadata', { 'sec-fetch-mode': 'no-cors', accept: BROWSER }],
  ['a WebSocket', { 'sec-fetch-mode': 'websocket', accept: BROWSER }],
  ['attack: a head full of ranges is not compared', { accept: `text/html,${'a/b,'.repeat(300)}` }],
  ['two of the field', { 'sec-fetch-mode': 'navigate, navigate', accept: BROWSER }],
]
for (const [what, headers] of NO_PAGES)
  t.test(`wants no page: ${what}`, async (t) => t.notOk(wantsPage({ headers })))

t.test('attack: a huge Accept costs no more than its length', async (t) => {
  const started = performance.now()
  wantsPage({ headers: { accept: 'text/html;q=0.1;a,'.repeat(60_000) } })
  wantsPage({ headers: { accept: `text/html;q${' '.repeat(1_000_000)}` } })
  t.ok(performance.now() - started < 2000)
})
