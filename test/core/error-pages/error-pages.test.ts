import t from 'tap'
import { createErrorPages } from '../../../gateway/core/error-pages/error-pages.ts'
import { templatesOf } from '../../../gateway/core/error-pages/pages-folder.ts'
import { ERROR_CODES, statusOf, titleOf } from '../../../gateway/core/errors.ts'

const pagesFrom = (texts: Record<string, string>) => {
  const templates = templatesOf(texts)
  return createErrorPages(() => templates)
}

for (const code of ERROR_CODES) {
  t.test(`the built-in page of ${code} is small, complete in itself and names what to pass on`, async (t) => {
    const { html, policy } = pagesFrom({}).pageFor(code, 'the-request-id')
    t.ok(Buffer.byteLength(html) < 4096)
    t.match(html, /^<!doctype html>\n<html lang="en">/)
    for (const shown of [String(statusOf(code)), code, 'the-request-id'])
      t.ok(html.includes(`<dd>${shown}</dd>`), shown)
    t.notMatch(
      html,
      /<script|<img|<link|<iframe|src=|url\(|@import|https?:|\son\w+=/i,
      'it asks for nothing else',
    )
    t.notMatch(html, /\{\{|undefined/)
    t.equal(html.match(/<h1>/g)?.length, 1)
    t.equal(/<title>(.*)<\/title>/.exec(html)?.[1], /<h1>(.*)<\/h1>/.exec(html)?.[1])
    t.equal(html.includes('<a href="">Try again</a>'), [502, 503, 504].includes(statusOf(code)))
    t.notMatch(policy, /unsafe|\*/)
  })
}

t.test('the words of the built-in pages are those of people', async (t) => {
  for (const code of ERROR_CODES) {
    const { html } = pagesFrom({}).pageFor(code, 'r')
    const words = html.slice(html.indexOf('<h1>'), html.indexOf('<footer>'))
    t.notMatch(
      words,
      /upstream|gateway|token|mandate|header|origin|credential|request body|route|HTTP/i,
      code,
    )
  }
})

t.test('of the own pages that of the code is used, then that of the status, then error.html', async (t) => {
  const all = { 'draining.html': 'by code', '503.html': 'by status', 'error.html': 'by default' }
  t.equal(pagesFrom(all).pageFor('draining', 'r').html, 'by code')
  t.equal(pagesFrom(all).pageFor('overloaded', 'r').html, 'by status')
  t.equal(pagesFrom(all).pageFor('token_revoked', 'r').html, 'by default')
  const { 'error.html': _, ...some } = all
  t.match(pagesFrom(some).pageFor('token_revoked', 'r').html, '<h1>You were logged out</h1>')
})

t.test('an own page is filled in, and has no policy of the gateway', async (t) => {
  const { html, policy } = pagesFrom({ '404.html': '{{status}} {{code}} {{title}} {{requestId}}' }).pageFor(
    'route_not_found',
    'r-7',
  )
  t.equal(html, `404 route_not_found ${titleOf('route_not_found')} r-7`)
  t.equal(policy, null)
})
