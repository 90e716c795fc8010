import t from 'tap'
import { parseText } from '../support/exposition.ts'
import { startGateway } from '../support/gateway.ts'
import { NO_DATABASE } from '../support/plain-gateway.ts'
import { openConnection } from '../support/raw-http.ts'

const ROUTES = 50
const CLIENTS = 500
const SCRAPES = 100

/** Seconds between scrapes; most are 15 apart. A quiet machine does it in a quarter of what is allowed here. */
const INTERVAL_S = 2

t.test(
  `a scrape of ${ROUTES} routes and ${CLIENTS} connections, every ${INTERVAL_S} seconds, costs less than 1%`,
  async (t) => {
    const names = Array.from({ length: ROUTES }, (_, n) => `u${n}`)
    const gateway = await startGateway({
      databaseUrl: NO_DATABASE,
      routing: {
        upstreams: Object.fromEntries(
          names.map((name, n) => [
            name,
            { targets: [`http://10.0.0.1:${1000 + n}`, `http://10.0.0.2:${1000 + n}`] },
          ]),
        ),
        routes: names.map((upstream) => ({ path: `/${upstream}`, upstream, auth: 'none' })),
      },
      env: { ACCESS_LOG: 'off' },
    })
    t.teardown(() => gateway.stop())
    const clients = await Promise.all(Array.from({ length: CLIENTS }, () => openConnection(gateway.port)))
    t.teardown(() => {
      for (const client of clients) client.destroy()
    })
    for (const accept of ['text/plain', 'application/openmetrics-text']) {
      const scrape = async () => {
        const headers = { Accept: accept }
        return (await fetch(`http://127.0.0.1:${gateway.adminPort}/metrics`, { headers })).text()
      }
      for (let n = 0; n < 20; n++) await scrape()
      const cpu = () => gateway.metric('process_cpu_seconds_total')
      const before = await cpu()
      let last = ''
      for (let n = 0; n < SCRAPES; n++) last = await scrape()
      const each = ((await cpu()) - before) / SCRAPES
      t.comment(
        `${accept}: ${(each * 1000).toFixed(1)} ms of CPU time, ${(last.length / 1024).toFixed(0)} KB`,
      )
      t.ok(each < INTERVAL_S / 100, `${each} s`)
      if (accept === 'text/plain') t.ok(parseText(last).families.size > 30)
    }
  },
)
