import type { Browser, Page } from 'playwright-core'
import t, { type Test } from 'tap'
import type { Status } from '../../gateway/admin/status.ts'
import { chromiumIsInstalled, startChromium } from '../support/chromium.ts'
import { judgeContrast } from '../support/contrast.ts'
import {
  goodStatus,
  routeStatus,
  startStatusStage,
  targetStatus,
  upstreamStatus,
} from '../support/status-stage.ts'

const skip = chromiumIsInstalled()
  ? false
  : 'Chromium is not installed here; of the page only its policy is tested, by admin-server.test.ts'
const EVIL = 'rebound.example'

t.test('the status page in Chromium', { skip }, async (t) => {
  const browser = await startChromium([`--host-resolver-rules=MAP ${EVIL} 127.0.0.1`])
  t.teardown(() => browser.close())
  t.test('the timeline of the database is named, or that it is not told', (t) => timelines(t, browser))
  t.test('markup in names, reasons and problems is shown as text and does not run', (t) => markup(t, browser))
  t.test('new numbers do not shift the layout of the page', (t) => steady(t, browser))
  t.test('cards are as high as their text', (t) => cards(t, browser))
  t.test('each route has its requests, errors and 99th percentile', (t) => routeNumbers(t, browser))
  t.test('what is wrong now is the first thing on the page, with where to read what to do', (t) =>
    problems(t, browser),
  )
  t.test('the contrast of all text meets WCAG AA, in the light and the dark scheme', (t) =>
    contrast(t, browser),
  )
  t.test('the page shows that the gateway does not answer, and recovers when it does', (t) =>
    away(t, browser),
  )
  t.test('the page can be used with the keyboard alone', (t) => keys(t, browser))
  t.test('200 routes and 50 targets with very long names fit on a phone', (t) => phone(t, browser))
  t.test("attack: DNS rebinding, a page with the attacker's name reads nothing", (t) => rebinding(t, browser))
})

interface Options {
  readonly width?: number
  readonly height?: number
  readonly colorScheme?: 'light' | 'dark'
}

/** Opens the page, and waits until it shows the status. */
async function open(t: Test, browser: Browser, status: Status, options: Options = {}) {
  const { width = 1280, height = 900, colorScheme = 'light' } = options
  const stage = await startStatusStage(status)
  const page = await browser.newPage({ viewport: { width, height }, colorScheme })
  const faults: string[] = []
  page.on('pageerror', (error) => faults.push(String(error)))
  page.on('dialog', (dialog) => {
    faults.push(dialog.message())
    void dialog.dismiss()
  })
  await page.addInitScript(`window.shifts = []
    new PerformanceObserver((list) => {
      for (const { value, sources } of list.getEntries())
        window.shifts.push([value, ...sources.map(({ node }) => node?.textContent?.trim().slice(0, 60))])
    }).observe({ type: 'layout-shift', buffered: true })`)
  await page.goto(stage.url)
  await page.waitForSelector('#rest:not([hidden])')
  t.teardown(async () => {
    await page.close()
    await stage.goAway()
  })
  return { stage, page, faults }
}

async function problems(t: Test, browser: Browser): Promise<void> {
  const problem = {
    severity: 'red',
    what: 'The token table cannot be queried',
    detail: 'Routes that authenticate answer 503. The server shuts down.',
    section: 'GatewayTokenStoreDown',
  } as const
  const { page, stage } = await open(t, browser, goodStatus({ problems: [problem] }))
  const first = page.locator('main > *:visible').first()
  t.equal(await first.getAttribute('id'), 'now')
  t.equal(await first.getAttribute('data-state'), 'bad')
  const text = await first.innerText()
  for (const part of [problem.what, problem.detail, 'docs/operating.md, GatewayTokenStoreDown'])
    t.ok(text.includes(part), part)
  const icon = () => page.locator('#icon').getAttribute('href')
  const red = await icon()
  t.match(await page.title(), /^The token table cannot be queried: PowerOn Gateway/, 'the tab says it too')
  stage.status = goodStatus({ problems: [{ ...problem, severity: 'amber', what: 'It ends soon' }] })
  await page.waitForSelector('#now[data-state="warn"]')
  const amber = await icon()
  t.match(await page.title(), /^It ends soon: /)
  stage.status = goodStatus()
  await page.waitForSelector('#now[data-state="good"]')
  t.equal(new Set([red, amber, await icon()]).size, 3, 'the icon as well')
  t.match(await first.innerText(), /Nothing is wrong\./)
}

async function timelines(t: Test, browser: Browser): Promise<void> {
  const withTimelines = (newest: number | null, untold: boolean) =>
    goodStatus({
      tokenStore: {
        ...goodStatus().tokenStore,
        timelines: { newest, untold, refused: 0, oldPrimaries: [] },
      },
    })
  const { page, stage } = await open(t, browser, withTimelines(7, false))
  await shown(page, '#reasons', 'The database is on timeline 7; primaries on older ones are refused.')
  stage.status = withTimelines(null, true)
  await shown(page, '#reasons', /does not tell its timeline: an old primary would not be noticed/)
  stage.status = withTimelines(null, false)
  await shown(page, '#reasons', /^[^.]*\.$/)
}

/** Waits until an answer is shown. A page that becomes visible sends its request at once. */
async function shown(page: Page, selector: string, text: string | RegExp): Promise<void> {
  await page.evaluate(`document.dispatchEvent(new Event('visibilitychange'))`)
  await page.locator(selector, { hasText: text }).first().waitFor({ state: 'attached' })
}

async function markup(t: Test, browser: Browser): Promise<void> {
  const attack =
    '<img src=x onerror="window.pwned=1"><script>window.pwned=1</script>"\'><svg onload=window.pwned=1>'
  const { page, faults } = await open(
    t,
    browser,
    goodStatus({
      ready: false,
      reasons: ['token_store'],
      causes: [{ reason: 'token_store', cause: attack }],
      instance: attack,
      version: attack,
      tokenStore: { up: false, code: attack, reason: attack, lastFailure: null },
      routing: {
        file: `/${attack}`,
        loadedAt: new Date().toISOString(),
        readAt: new Date().toISOString(),
        problems: [{ line: 1, column: 2, pointer: `/${attack}`, message: attack }],
      },
      routes: [
        routeStatus({ route: attack, methods: [attack], exact: true, auth: 'none', upstream: attack }),
      ],
      upstreams: [
        upstreamStatus({
          name: attack,
          balance: attack,
          targets: [targetStatus({ url: attack, state: 'unhealthy', upIn: 0, reason: attack })],
        }),
      ],
      totals: { ...goodStatus().totals, decisions: { [attack]: 1 } },
    }),
  )
  await page.waitForTimeout(500)
  t.equal(await page.evaluate('window.pwned'), undefined)
  t.equal(await page.evaluate('document.querySelectorAll("img, iframe, svg[onload]").length'), 0)
  t.equal(await page.evaluate('document.scripts.length'), 1)
  for (const place of ['#reasons', '#problems', '#upstreams-table', '#routes-table', '#decisions-table'])
    t.ok((await page.locator(place).textContent())?.includes(attack), `${place} shows it as it is`)
  const made = await page.evaluate(`try { document.body.innerHTML = '<b>' } catch (error) { error.name }`)
  t.equal(made, 'TypeError', 'nor can text become markup there')
  t.same(faults, [])
}

async function steady(t: Test, browser: Browser): Promise<void> {
  for (const width of [1280, 360]) {
    const { stage, page, faults } = await open(t, browser, goodStatus(), { width, height: 2400 })
    stage.status = goodStatus({
      instance: 'gateway-2',
      upstreams: [upstreamStatus({ targets: [targetStatus({ inFlight: 123_456, ok: 99_999_999 })] })],
      routes: [routeStatus({ requests: 12_345_678, errors: 123_456, p99Ms: 59_999 })],
      openStreams: { websocket: 123_456, sse: 0, other: 3 },
      totals: {
        ...goodStatus().totals,
        decisions: { authenticated: 123_456_789, token_revoked: 12_345, overloaded: 99_999 },
      },
    })
    await shown(page, '#instance', 'gateway-2')
    stage.status = goodStatus()
    await shown(page, '#instance', 'gateway-1')
    t.same(await page.evaluate('window.shifts'), [], `${width} px wide`)
    t.same(faults, [])
  }
}

/** What a card has below the last of its text, and what of it is hidden, in pixels. */
const SPARE = `[...document.querySelectorAll('.card')].map((card) => {
  const ends = [...card.querySelectorAll('*')].map((node) => node.getBoundingClientRect().bottom)
  const { bottom } = card.getBoundingClientRect()
  const boxes = [card, ...card.querySelectorAll('.more, .short')]
  return {
    title: card.querySelector('h2')?.textContent ?? card.className,
    empty: Math.round(bottom - Math.max(...ends)),
    hidden: Math.max(...boxes.map((box) => box.scrollHeight - box.clientHeight)),
  }
})`

async function cards(t: Test, browser: Browser): Promise<void> {
  const down = targetStatus({ state: 'unhealthy', upIn: 0, reason: 'answered with 500' })
  const bad = goodStatus({
    ready: false,
    reasons: ['draining', 'token_store'],
    causes: [
      { reason: 'draining', cause: 'the instance is shutting down' },
      { reason: 'token_store', cause: 'nothing accepts connections (connect ECONNREFUSED 10.0.0.7:5432)' },
    ],
    upstreams: [upstreamStatus({ targets: [down, targetStatus()] })],
    processes: [],
  })
  for (const status of [goodStatus(), bad]) {
    for (const width of [1280, 400]) {
      const { page } = await open(t, browser, status, { width })
      for (const { title, empty, hidden } of (await page.evaluate(SPARE)) as {
        title: string
        empty: number
        hidden: number
      }[]) {
        t.ok(empty < 24, `${title}, ${width} px wide: ${empty} px below its text`)
        t.ok(hidden <= 1, `${title}, ${width} px wide: all of it is seen`)
      }
    }
  }
}

async function routeNumbers(t: Test, browser: Browser): Promise<void> {
  const { page } = await open(
    t,
    browser,
    goodStatus({
      routes: [
        routeStatus({ route: '/api', requests: 28_411, errors: 3, p99Ms: 46.2 }),
        routeStatus({ route: '/new', requests: 0, errors: 0, p99Ms: null }),
      ],
    }),
  )
  const rows = page.locator('#routes-table tbody tr')
  t.same(await rows.nth(0).locator('.number').allTextContents(), ['28,411', '3', '46.2 ms'])
  t.same(await rows.nth(1).locator('.number').allTextContents(), ['0', '0', '–'])
}

async function contrast(t: Test, browser: Browser): Promise<void> {
  const bad = targetStatus({ url: 'http://b', state: 'unhealthy', upIn: 0, reason: 'answered with 500' })
  const eased = targetStatus({ url: 'http://c', easedTo: 40 })
  const status = goodStatus({
    upstreams: [upstreamStatus({ targets: [targetStatus(), bad, eased] })],
  })
  for (const colorScheme of ['light', 'dark'] as const) {
    const { stage, page } = await open(t, browser, status, { colorScheme })
    const judge = () => judgeContrast(page)
    t.same((await judge()).low, [], colorScheme)
    t.ok((await judge()).count > 60, 'all text is looked at')
    stage.status = { ...status, ready: false, reasons: ['draining'] }
    await shown(page, '#state', 'Not ready')
    t.same((await judge()).low, [], `${colorScheme}, not ready`)
  }
}

async function away(t: Test, browser: Browser): Promise<void> {
  const { stage, page } = await open(t, browser, goodStatus())
  t.match(await page.title(), /^PowerOn Gateway gateway-1/)
  await stage.goAway()
  await shown(page, '#state', /No answer since \d\d:\d\d:\d\d/)
  t.match(await page.title(), /^No answer: /)
  t.ok(await page.locator('#routes-table').isVisible(), 'what was known stays')
  stage.status = goodStatus({ ready: false, reasons: ['draining'] })
  await stage.comeBack()
  await shown(page, '#state', 'Not ready')
  t.match(await page.title(), /^Not ready: /)
  t.equal(await page.locator('#state').getAttribute('aria-live'), 'polite', 'it is read out')
}

async function keys(t: Test, browser: Browser): Promise<void> {
  const { page } = await open(t, browser, goodStatus())
  const focused = (what: string) =>
    page.evaluate(`(() => { const at = document.activeElement; return ${what} })()`)
  await page.keyboard.press('Tab')
  t.equal(await focused('at.textContent'), 'Skip to the content')
  t.ok(await focused('at.getBoundingClientRect().top >= 0'), 'and is seen')
  await page.keyboard.press('Enter')
  t.equal(await focused('at.id'), 'main')
  const stops: unknown[] = []
  for (let n = 0; n < 6; n++) {
    await page.keyboard.press('Tab')
    stops.push(await focused('at.getAttribute("role")'))
    t.equal(await focused('getComputedStyle(at).outlineStyle'), 'solid', 'focus is seen')
  }
  t.same(stops, Array(6).fill('slider'), 'plots are next: boxes without more to see are no stops')
  t.equal(await page.locator('#moment').textContent(), 'now')
  await page.keyboard.press('ArrowLeft')
  t.match(await page.locator('#moment').textContent(), /^at \d\d:\d\d:\d\d$/)
  t.match(await focused('at.getAttribute("aria-valuetext")'), /^\d\d:\d\d:\d\d: \d/)
  t.equal(await focused('at.getAttribute("aria-valuenow")'), '-2')
  await page.keyboard.press('Home')
  t.equal(await focused('at.getAttribute("aria-valuenow")'), '-598')
  await page.keyboard.press('Escape')
  t.equal(await page.locator('#moment').textContent(), 'now')
  await page.keyboard.press('Tab')
  await page.keyboard.press('Enter')
  const minutes = page.locator('#minutes-table tbody tr')
  await minutes.first().waitFor()
  t.ok((await minutes.count()) >= 10, 'the plots as a table, minute by minute')
}

async function phone(t: Test, browser: Browser): Promise<void> {
  const long = 'very-long-segment-'.repeat(15)
  const status = goodStatus({
    instance: long,
    routes: Array.from({ length: 200 }, (_, n) =>
      routeStatus({
        route: `/${n}/${long}`,
        methods: ['GET', 'POST', 'DELETE'],
        auth: 'optional',
        upstream: long,
      }),
    ),
    upstreams: Array.from({ length: 10 }, (_, n) =>
      upstreamStatus({
        name: `${n}${long}`,
        targets: Array.from({ length: 5 }, (_, m) => targetStatus({ url: `https://${m}.${long}.internal` })),
      }),
    ),
  })
  const { page } = await open(t, browser, status, { width: 360, height: 800 })
  t.equal(await page.evaluate('document.documentElement.scrollWidth'), 360)
  t.same(await page.evaluate('window.shifts'), [])
  t.equal(await page.locator('#routes-table tbody tr').count(), 200)
  t.equal(await page.locator('#upstreams-table tbody tr').count(), 60)
  await page.locator('#filter-text').fill('/17/')
  t.equal(await page.locator('#routes-table tbody tr').count(), 1)
  t.equal(await page.locator('#routes-sum').textContent(), '1 of 200 routes, numbers of the last ten minutes')
}

async function rebinding(t: Test, browser: Browser): Promise<void> {
  const stage = await startStatusStage(goodStatus())
  // The attacker's page has no policy that would block its requests.
  const page = await browser.newPage({ bypassCSP: true })
  t.teardown(async () => {
    await page.close()
    await stage.goAway()
  })
  const answer = await page.goto(`http://${EVIL}:${stage.port}/status.json`)
  t.equal(answer?.status(), 403)
  for (const headers of [
    '{}',
    '{ "Accept-Language": "" }',
    '{ "User-Agent": "curl", "Accept-Language": "" }',
  ]) {
    const options = `{ headers: ${headers}, referrerPolicy: 'no-referrer', credentials: 'omit' }`
    t.equal(
      await page.evaluate(`fetch('/status.json', ${options}).then(({ status }) => status)`),
      403,
      headers,
    )
  }
  const cross = `fetch('http://127.0.0.1:${stage.port}/status.json', { mode: 'no-cors' })`
  t.equal(await page.evaluate(`${cross}.then(({ type }) => type, () => 'refused')`), 'refused')
}
