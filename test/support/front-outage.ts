import type { Test } from 'tap'
import { askFront, type Behind, type Told } from './front.ts'
import { until } from './plain-gateway.ts'

const PAGE = { 'Sec-Fetch-Mode': 'navigate', Accept: 'text/html,*/*;q=0.8' }
const OLD_BROWSER = { Accept: 'text/html,application/xhtml+xml,*/*;q=0.8' }
const PROGRAM = { Accept: '*/*' }
const SCRIPT = { 'Sec-Fetch-Mode': 'cors', Accept: 'text/html' }

/** What a balancer does while the token table is away, and when no gateway is left. */
export async function checkOutages(t: Test, behind: Behind, tlsPort: number): Promise<void> {
  const ca = behind.authority.cert
  const url = `https://localhost:${tlsPort}`
  const cookie = { cookie: behind.cookie }
  const get = (path: string, headers: Readonly<Record<string, string>> = {}) =>
    askFront(`${url}${path}`, { ca, headers: { ...cookie, ...headers } })
  const post = (path: string) => askFront(`${url}${path}`, { ca, method: 'POST', headers: cookie, body: 'x' })
  const comes = (status: number) =>
    until(() =>
      get('/').then(
        (told) => told.status === status,
        () => false,
      ),
    )

  await t.test('while the token table is away, routes without authentication go on', async (t) => {
    await comes(200)
    await behind.database.stop()
    const gateways = [...behind.fleet.running.values()]
    await until(async () =>
      (await Promise.all(gateways.map(({ url }) => isReady(url)))).every((ready) => !ready),
    )
    for (const { url } of gateways)
      t.equal(
        (await fetch(`${url}/-/healthz`)).status,
        200,
        'the probe of Kubernetes keeps it in the Service',
      )
    // Past the time in which a balancer notices.
    await until(async () => (await get('/assets/app.css')).status === 200)
    for (const path of ['/assets', '/assets/app.css', '/assets/a/b?c=d']) {
      t.equal((await get(path)).status, 200, `GET ${path}`)
      t.equal((await post(path)).status, 200, `POST ${path}`)
      t.equal((await askFront(`${url}${path}`, { ca })).status, 200, `GET ${path} without a cookie`)
    }
    for (const told of [await get('/'), await post('/'), await get('/other')]) {
      isRefusal(t, told, 'application/problem+json')
      t.match(JSON.parse(told.body), { code: 'token_store_unavailable' }, "it is the gateway's own")
    }
    const page = await get('/', PAGE)
    isRefusal(t, page, 'text/html')
    t.match(page.body, /token_store_unavailable/, "the gateway's own page")
    await behind.database.start()
    await t.resolves(comes(200), 'all is well once the table is back')
  })

  await t.test('with no gateway left, people get a page and programs a problem, both 503', async (t) => {
    await Promise.all([behind.fleet.kill(0), behind.fleet.kill(1)])
    isRefusal(t, await get('/', PAGE), 'text/html')
    await until(async () => (await get('/', PROGRAM)).headers['content-type'] === 'application/problem+json')
    for (const path of ['/', '/assets']) {
      const told = await get(path, PROGRAM)
      isRefusal(t, told, 'application/problem+json')
      t.match(JSON.parse(told.body), { type: 'about:blank', title: 'Service Unavailable', status: 503 })
      t.equal(JSON.parse(told.body).requestId, told.headers['x-request-id'])
      isRefusal(t, await post(path), 'application/problem+json')
      isRefusal(t, await get(path, SCRIPT), 'application/problem+json')
      for (const browser of [PAGE, OLD_BROWSER]) {
        const page = await get(path, browser)
        isRefusal(t, page, 'text/html')
        t.match(page.body, /<a href="">Try again<\/a>/)
      }
    }
    await behind.fleet.start(0)
    await t.resolves(comes(200), 'one gateway is enough')
  })
}

function isRefusal(t: Test, told: Told, type: string): void {
  const { status, headers } = told
  t.equal(status, 503)
  t.match(headers['retry-after'], /^[1-9]\d*$/)
  t.equal(headers['content-type']?.split(';')[0], type)
  t.equal(headers['cache-control'], 'no-store')
  t.match(headers['strict-transport-security'], /max-age=/)
  t.match(headers['x-request-id'], /^[\w-]{16,}$/)
}

async function isReady(url: string): Promise<boolean> {
  return (await fetch(`${url}/-/readyz`)).ok
}
