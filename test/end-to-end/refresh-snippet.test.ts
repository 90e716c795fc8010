import type { Browser, BrowserContext, Page, Route } from 'playwright-core'
import t, { type Test } from 'tap'
import { chromiumIsInstalled, startChromium } from '../support/chromium.ts'
import { ask as askGateway } from '../support/either-client.ts'
import { EXAMPLE_HOSTS, startLoginExample } from '../support/login-example.ts'
import { until } from '../support/plain-gateway.ts'

const skip = chromiumIsInstalled() ? false : 'Chromium is not installed here'

/** A person who has logged in, and what their tabs have sent since. */
async function logIn(t: Test, browser: Browser, app: string) {
  const context = await browser.newContext({ ignoreHTTPSErrors: true })
  t.teardown(() => context.close())
  const page = await openTab(context, app)
  await page.getByLabel('Name').fill('alice')
  await page.getByLabel('Password').fill('wonderland')
  await page.getByRole('button', { name: 'Log in' }).click()
  await page.getByText('The API knows you as alice.').waitFor()
  const sent: string[] = []
  context.on('request', (request) => {
    const { pathname } = new URL(request.url())
    sent.push([request.method(), pathname, request.postData() ?? ''].join(' ').trim())
  })
  return { context, page, sent, refreshes: () => sent.filter((line) => line === 'POST /-/refresh').length }
}

async function openTab(context: BrowserContext, app: string): Promise<Page> {
  const page = await context.newPage()
  await page.goto(app)
  return page
}

/** `fetchWithRefresh` in the page. @returns the status of each answer */
function ask(page: Page, path: string, init: object = {}, times = 1): Promise<number[]> {
  return page.evaluate(`(async () => {
    const { fetchWithRefresh } = await import('/refresh.js')
    const one = async () => (await fetchWithRefresh(${JSON.stringify(path)}, ${JSON.stringify(init)})).status
    return Promise.all(Array.from({ length: ${times} }, one))
  })()`)
}

t.test('the refresh by scripts, in Chromium', { skip }, async (t) => {
  const example = await startLoginExample(t)
  const { app, gateway } = example
  const browser = await startChromium([EXAMPLE_HOSTS])
  t.teardown(() => browser.close())
  const loggedIn = (t: Test) => logIn(t, browser, app)

  t.test('a request with a good access token is sent once', async (t) => {
    const { page, sent } = await loggedIn(t)
    t.same(await ask(page, '/api/me'), [200])
    t.same(
      sent.filter((line) => !line.includes('refresh.js')),
      ['GET /api/me'],
    )
  })

  t.test(
    'a request whose access token has expired is sent again after a refresh, with its body',
    async (t) => {
      const { page, refreshes } = await loggedIn(t)
      await example.expireAccessTokens()
      t.same(await ask(page, '/api/me', { method: 'POST', body: 'an order' }), [200])
      t.equal(refreshes(), 1)
      const posts = () => gateway.lines.filter(({ method, path }) => method === 'POST' && path === '/api/me')
      await until(() => posts().length === 2)
      t.match(posts(), [{ status: 401 }, { status: 200, bytesIn: 'an order'.length }])
    },
  )

  t.test('many requests of several tabs at once cause one refresh', async (t) => {
    const { context, page, refreshes } = await loggedIn(t)
    const tabs = [page, await openTab(context, app), await openTab(context, app)]
    await example.expireAccessTokens()
    // The first refresh is under way until every request of every tab has been refused.
    let refused = 0
    const allRefused = Promise.withResolvers<void>()
    context.on('response', (response) => {
      if (response.url() === `${app}/api/me` && response.status() === 401 && ++refused === 30)
        allRefused.resolve()
    })
    await context.route('**/-/refresh', async (route) => {
      await allRefused.promise
      await route.continue()
    })
    const statuses = await Promise.all(tabs.map((tab) => ask(tab, '/api/me', {}, 10)))
    t.same(statuses.flat(), Array(30).fill(200))
    t.equal(refreshes(), 1)
  })

  t.test('a request that another tab has overtaken with a refresh is only sent again', async (t) => {
    const { context, page, refreshes } = await loggedIn(t)
    const other = await openTab(context, app)
    const old = (await context.cookies()).map(({ name, value }) => `${name}=${value}`).join('; ')
    await example.expireAccessTokens()
    const overtake = async (route: Route) => {
      await other.evaluate(`import('/refresh.js').then(({ refreshSession }) => refreshSession())`)
      const late = askGateway(t, gateway.port, 'HTTP/2', { path: '/api/me', fields: [['cookie', old]] })
      late.end()
      const { status, all, body } = await late.answer
      t.equal(status, 401)
      await route.fulfill({ status, headers: { 'www-authenticate': all('www-authenticate')[0]! }, body })
    }
    await page.route('**/api/me', overtake, { times: 1 })
    t.same(await ask(page, '/api/me'), [200])
    t.equal(refreshes(), 1, 'that of the other tab')
  })

  t.test('without a session the answer is 401, after one refresh that was refused', async (t) => {
    const { context, page, refreshes } = await loggedIn(t)
    await context.clearCookies()
    t.same(await ask(page, '/api/me'), [401])
    t.equal(refreshes(), 1)
  })

  t.test('a 401 of a backend is passed on, and nothing is refreshed', async (t) => {
    const { page, refreshes } = await loggedIn(t)
    t.same(await ask(page, '/login', { method: 'POST', body: 'user=alice&password=wrong' }), [401])
    t.equal(refreshes(), 0)
  })

  t.test(
    'a fault is not a refusal: with the database down the answer is 503, and the session goes on',
    async (t) => {
      const { context, page } = await loggedIn(t)
      // A request without an access token is refused without the database; the refresh needs it.
      await context.clearCookies({ name: 'auth_token' })
      await example.stopDatabase()
      t.same(await ask(page, '/api/me'), [503])
      await example.startDatabase()
      await until(async () => (await ask(page, '/api/me'))[0] === 200)
    },
  )
})
