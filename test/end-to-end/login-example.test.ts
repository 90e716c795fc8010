import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Browser, BrowserContext, Frame, Page } from 'playwright-core'
import t, { type Test } from 'tap'
import { chromiumIsInstalled, startChromium, startPersistentChromium } from '../support/chromium.ts'
import { ask as askGateway } from '../support/either-client.ts'
import { type Answer, ask } from '../support/http-client.ts'
import { EXAMPLE_HOSTS, startLoginExample } from '../support/login-example.ts'
import { readText } from '../support/repository.ts'

const skip = chromiumIsInstalled() ? false : 'Chromium is not installed here'
const example = await startLoginExample(t)
const { app } = example

t.test('the login example in Chromium', { skip }, async (t) => {
  const browser = await startChromium([EXAMPLE_HOSTS])
  t.teardown(() => browser.close())
  t.test('a link on another site opens the page with the session, before a refresh and after it', (t) =>
    link(t, browser),
  )
  t.test('a link on another site opens the page when only the access token has expired', (t) =>
    expired(t, browser),
  )
  t.test('a logout removes the cookies that a refresh has set', (t) => logout(t, browser))
  t.test('with a domain the hosts below it share the session, and there is one cookie of each name', (t) =>
    domain(t, browser),
  )
  t.test('attack: an open redirect behind the login leads nowhere else', (t) => openRedirect(t, browser))
})

t.test('a browser that is closed and opened again keeps the session, also after a refresh', { skip }, (t) =>
  reopened(t),
)

async function newContext(t: Test, browser: Browser): Promise<BrowserContext> {
  const context = await browser.newContext({ ignoreHTTPSErrors: true })
  t.teardown(() => context.close())
  return context
}

async function logIn(page: Page, at: string): Promise<void> {
  await page.goto(at)
  await page.getByLabel('Name').fill('alice')
  await page.getByLabel('Password').fill('wonderland')
  await page.getByRole('button', { name: 'Log in' }).click()
  await page.getByRole('heading', { name: 'Hello alice' }).waitFor()
}

/** Follows a link on another site. @returns the paths of the pages that were shown until the person is greeted */
async function follow(page: Page, path: string): Promise<string[]> {
  await page.goto(`${example.otherSite}/?to=${encodeURIComponent(app + path)}`)
  const shown: string[] = []
  const note = (frame: Frame) => void shown.push(frame.url().slice(app.length))
  page.on('framenavigated', note)
  await page.getByRole('link').click()
  await page.getByRole('heading', { name: 'Hello alice' }).waitFor()
  page.off('framenavigated', note)
  return shown
}

const refresh = (page: Page) =>
  page.evaluate(`fetch('/-/refresh', { method: 'POST' }).then(({ status }) => status)`)

/** Names and what does not change with a refresh. */
async function jar(context: BrowserContext): Promise<string[]> {
  return (await context.cookies())
    .map(({ name, domain, path, httpOnly, secure, sameSite, expires }) =>
      [name, domain, path, httpOnly && 'HttpOnly', secure && 'Secure', sameSite, expires > 0 && 'lasts'].join(
        ' ',
      ),
    )
    .sort()
}

async function link(t: Test, browser: Browser): Promise<void> {
  const context = await newContext(t, browser)
  const page = await context.newPage()
  await logIn(page, `${app}/reports?year=2026`)
  t.equal(page.url(), `${app}/reports?year=2026`, 'the login goes on where it was asked for')
  const cookies = await jar(context)
  t.same(cookies, [
    'auth_token app.example.test / HttpOnly Secure Lax lasts',
    'refresh_token app.example.test / HttpOnly Secure Lax lasts',
  ])
  t.same(await follow(page, '/reports'), ['/reports'])
  t.equal(await refresh(page), 204)
  t.same(await jar(context), cookies, 'the refresh sets them as the login has')
  t.same(await follow(page, '/reports'), ['/reports'])
}

async function expired(t: Test, browser: Browser): Promise<void> {
  const page = await (await newContext(t, browser)).newPage()
  await logIn(page, app)
  await example.expireAccessTokens()
  const path = '/reports?year=2026'
  t.same(
    await follow(page, path),
    [`/login?next=${encodeURIComponent(path)}`, path],
    'the login page has refreshed',
  )
}

async function logout(t: Test, browser: Browser): Promise<void> {
  const context = await newContext(t, browser)
  const page = await context.newPage()
  await logIn(page, app)
  t.equal(await refresh(page), 204)
  await page.getByRole('button', { name: 'Log out' }).click()
  await page.waitForURL(`${app}/login`)
  t.same(await context.cookies(), [])
  await page.goto(app)
  t.equal(await page.getByRole('heading').textContent(), 'Log in')
}

async function domain(t: Test, browser: Browser): Promise<void> {
  const wide = await startLoginExample(t, { COOKIE_DOMAIN: 'example.test' })
  const context = await newContext(t, browser)
  const page = await context.newPage()
  await logIn(page, wide.app)
  const cookies = await jar(context)
  t.same(cookies, [
    'auth_token .example.test / HttpOnly Secure Lax lasts',
    'refresh_token .example.test / HttpOnly Secure Lax lasts',
  ])
  for (const host of ['app', 'api']) {
    await page.goto(wide.on(host))
    t.equal(await refresh(page), 204, host)
    t.same(await jar(context), cookies, `after a refresh at ${host}`)
    for (const name of ['app', 'api']) {
      await page.goto(wide.on(name))
      t.equal(await page.getByRole('heading').textContent(), 'Hello alice', `${name} after it`)
    }
  }
  await page.getByRole('button', { name: 'Log out' }).click()
  await page.waitForURL(`${wide.on('api')}/login`)
  t.same(await context.cookies(), [], 'a logout at one host removes the cookies of all')
}

async function openRedirect(t: Test, browser: Browser): Promise<void> {
  const page = await (await newContext(t, browser)).newPage()
  await logIn(page, `${app}/login?next=${encodeURIComponent('/\\other.test/')}`)
  t.equal(page.url(), `${app}/`)
}

async function reopened(t: Test): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'gateway-browser-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const open = () => startPersistentChromium(folder, [EXAMPLE_HOSTS])
  const first = await open()
  await logIn(await first.newPage(), app)
  await first.close()
  const second = await open()
  const page = await second.newPage()
  await page.goto(app)
  t.equal(await page.getByRole('heading').textContent(), 'Hello alice', 'after the login')
  t.equal(await refresh(page), 204)
  await second.close()
  const third = await open()
  t.teardown(() => third.close())
  const last = await third.newPage()
  await last.goto(app)
  t.equal(await last.getByRole('heading').textContent(), 'Hello alice', 'after the refresh')
}

/** @param origin of the page that sends the form */
function postLogin(form: Record<string, string>, origin = 'https://app.example.test'): Promise<Answer> {
  return ask({
    url: `${example.backend}/login`,
    method: 'POST',
    headers: { host: 'app.example.test', 'x-forwarded-proto': 'https', origin },
    body: new URLSearchParams({ user: 'alice', password: 'wonderland', ...form }).toString(),
  })
}

/** Where a browser goes from the login page. */
async function wayOn(next: string): Promise<string> {
  const { status, headers } = await postLogin({ next })
  if (status !== 303) return `${status}`
  return new URL(headers.location ?? '', 'https://app.example.test/login').href
}

t.test('the login goes on to the path that it was asked for', async (t) => {
  for (const next of ['/', '/a/b?c=d&e=%2F#f', '/a//b', '/%2F/evil.example', '/a?next=//evil.example'])
    t.equal(await wayOn(next), `https://app.example.test${next}`)
})

const EVIL = [
  '//evil.example',
  '///evil.example',
  '/\\evil.example',
  '\\\\evil.example',
  '/\t/evil.example',
  '\n//evil.example',
  'https://evil.example/',
  'https:evil.example',
  'HTTPS:\\\\evil.example',
  '//user@evil.example',
  '/.//evil.example',
  '/x/..//evil.example',
  '/%2e//evil.example',
  'http://here.invalid//evil.example',
  'javascript:alert(1)',
  'data:text/html,x',
  '/\r\nSet-Cookie: a=b',
]
for (const next of EVIL) {
  t.test(`attack: open redirect by next=${JSON.stringify(next)} stays on the site`, async (t) => {
    t.match(await wayOn(next), /^https:\/\/app\.example\.test\/(?!\/)/)
    const { headers } = await postLogin({ next })
    t.equal(headers['set-cookie']?.length, 2)
  })
}

t.test('attack: markup in next neither ends the form nor the script of the login page', async (t) => {
  const next = '/"><script>alert(1)</script>'
  const { body } = await ask({ url: `${example.backend}/login?next=${encodeURIComponent(next)}` })
  t.notMatch(body, '<script>alert(1)')
  t.equal(body.match(/<\/script>/g)?.length, 1)
})

t.test('attack: another site cannot log a user in (login CSRF)', async (t) => {
  t.equal((await postLogin({}, 'https://evil.example')).status, 403)
  t.equal((await postLogin({ password: 'wrong' })).status, 401)
})

t.test('the cookies that the documents show are those that the example and the refresh set', async (t) => {
  const login = (await postLogin({})).headers['set-cookie'] ?? []
  const refreshing = askGateway(t, example.gateway.port, 'HTTP/1.1', {
    method: 'POST',
    path: '/-/refresh',
    fields: [['Cookie', login.map((each) => each.split(';')[0]).join('; ')]],
  })
  refreshing.end()
  const refreshed = (await refreshing.answer).all('set-cookie')
  const shape = (cookies: readonly string[]) =>
    cookies.map((each) => each.replace(/=[\w-]+\.[\w-]+\.[\w-]+/, '=<JWT>'))
  t.same(shape(refreshed), shape(login))
  for (const file of ['docs/login.md', 'README.md']) {
    const shown = [...readText(file).matchAll(/Set-Cookie: ((?:auth|refresh)_token=<JWT>.*)/g)].map(
      ([, cookie]) => cookie,
    )
    t.ok(shown.length > 0 || file === 'README.md', file)
    for (const cookie of shown) t.ok(shape(login).includes(cookie!), `${file}: ${cookie}`)
  }
})
