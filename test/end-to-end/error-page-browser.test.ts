import { writeFile } from 'node:fs/promises'
import type { Browser, BrowserContextOptions, Page } from 'playwright-core'
import t, { type Test } from 'tap'
import { chromiumIsInstalled, startChromium } from '../support/chromium.ts'
import { judgeContrast } from '../support/contrast.ts'
import { plainGateway, plainRouting } from '../support/plain-gateway.ts'
import { OK, startRawBackend } from '../support/raw-backend.ts'
import { inRepository } from '../support/repository.ts'

const skip = chromiumIsInstalled() ? false : 'Chromium is not installed here'

/** Writes docs/error-page-light.png and docs/error-page-dark.png. */
const UPDATES_SCREENSHOTS = process.env.UPDATE_SCREENSHOTS === '1'

t.test('the error page in Chromium', { skip }, async (t) => {
  const browser = await startChromium()
  t.teardown(() => browser.close())
  t.test('it is complete in itself and can be read in the light and the dark scheme', (t) =>
    looks(t, browser),
  )
  t.test('it fits on a narrow phone', (t) => phone(t, browser))
  t.test('a screen reader finds its parts, and the keyboard its link', (t) => reader(t, browser))
  t.test('"Try again" leads to the page once its backend is back', (t) => again(t, browser))
  t.test('attack: its policy lets no script run that got into it', (t) => policy(t, browser))
})

/** A gateway whose only target can be started later. */
async function stage(t: Test, browser: Browser, options: BrowserContextOptions = {}) {
  const backend = await startRawBackend(({ socket }) => void socket.write(OK))
  t.teardown(() => backend.close())
  const gateway = await plainGateway(t, { targets: ['http://127.0.0.1:1'] })
  const page = await browser.newPage(options)
  t.teardown(() => page.close())
  return { backend, gateway, page, requested: requestsOf(page), complaints: complaintsOf(page) }
}

function requestsOf(page: Page): string[] {
  const requested: string[] = []
  page.on('request', (request) => requested.push(request.url()))
  return requested
}

/** What the browser complains of, but for the status itself. */
function complaintsOf(page: Page): string[] {
  const complaints: string[] = []
  page.on('console', (message) => {
    if (!message.text().includes('the server responded with a status of')) complaints.push(message.text())
  })
  return complaints
}

async function looks(t: Test, browser: Browser): Promise<void> {
  const viewport = { width: 720, height: 460 }
  for (const colorScheme of ['light', 'dark'] as const) {
    const { gateway, page, requested, complaints } = await stage(t, browser, { viewport, colorScheme })
    const answer = await page.goto(`${gateway.url}/reports?year=2026`)
    t.equal(answer?.status(), 502)
    const { count, low } = await judgeContrast(page)
    t.same(low, [], `${colorScheme}: no text is hard to read`)
    t.ok(count >= 10)
    const ground = await page.evaluate('getComputedStyle(document.body).backgroundColor')
    t.equal(ground, colorScheme === 'light' ? 'rgb(244, 245, 247)' : 'rgb(15, 18, 22)', 'the style applies')
    t.same(requested, [`${gateway.url}/reports?year=2026`], 'nothing else is asked for')
    t.same(complaints, [])
    if (UPDATES_SCREENSHOTS)
      await page.screenshot({ path: inRepository(`docs/error-page-${colorScheme}.png`) })
  }
}

async function phone(t: Test, browser: Browser): Promise<void> {
  const { gateway, page } = await stage(t, browser, { viewport: { width: 280, height: 600 } })
  await page.goto(gateway.url)
  t.equal(await page.evaluate('document.documentElement.scrollWidth'), 280)
}

async function reader(t: Test, browser: Browser): Promise<void> {
  const { gateway, page } = await stage(t, browser)
  const answer = await page.goto(gateway.url)
  const requestId = answer?.headers()['x-request-id']
  t.equal(await page.title(), 'This page is not available at the moment')
  t.equal(await page.getAttribute('html', 'lang'), 'en')
  t.equal(
    (await page.locator('body').ariaSnapshot()).replace(/:\n +- \/url: .*/, ''),
    [
      '- main:',
      '  - heading "This page is not available at the moment" [level=1]',
      '  - paragraph: The server behind it does not answer. Wait a moment, and try again.',
      '  - paragraph:',
      '    - link "Try again"',
      '  - paragraph: "If you ask for help, pass on these details:"',
      '  - term: Status',
      '  - definition: "502"',
      '  - term: Code',
      '  - definition: upstream_unreachable',
      '  - term: Request id',
      `  - definition: ${requestId}`,
    ].join('\n'),
  )
  await page.keyboard.press('Tab')
  t.equal(await page.evaluate('document.activeElement.textContent'), 'Try again')
  t.equal(
    await page.evaluate('getComputedStyle(document.activeElement).outlineStyle'),
    'solid',
    'focus is seen',
  )
}

async function again(t: Test, browser: Browser): Promise<void> {
  const { backend, gateway, page } = await stage(t, browser)
  const address = `${gateway.url}/reports?year=2026&x=%2F`
  await page.goto(address)
  await writeFile(gateway.upstreamsFile, JSON.stringify(plainRouting([backend.url])))
  await gateway.line(({ msg }) => msg === 'the routing file was read')
  await page.getByRole('link', { name: 'Try again' }).click()
  await page.waitForFunction(`!document.body.textContent.includes('upstream_unreachable')`)
  t.equal(page.url(), address)
}

async function policy(t: Test, browser: Browser): Promise<void> {
  const { gateway, page, complaints } = await stage(t, browser)
  await page.route('**', async (route) => {
    const response = await route.fetch()
    const body = (await response.text()).replace(
      '</main>',
      '<script>window.pwned=1</script><img src="/x"></main>',
    )
    await route.fulfill({ response, body })
  })
  await page.goto(gateway.url)
  t.equal(await page.evaluate('window.pwned'), undefined)
  t.equal(complaints.length, 2)
  for (const complaint of complaints) t.match(complaint, /Content Security Policy/)
}
