import { setTimeout as delay } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { until } from '../support/plain-gateway.ts'
import { type Cluster, startCluster } from './cluster.ts'
import { watchConnections } from './connections.ts'
import { FAULTS } from './faults.ts'
import { type Period, type Row, rowOf, tableOf } from './report.ts'
import { type SetUps, startSetUps } from './set-ups.ts'
import { fillTable, startTraffic, type Traffic } from './traffic.ts'

/*
 * npm run fleet: gateways before a real Patroni on loopback, while it is broken in seven ways. It needs Debian's packages
 * patroni, python3-etcd, etcd-server, postgresql and haproxy, and takes pgbouncer where it is there.
 */

const { values } = parseArgs({ options: { only: { type: 'string', default: '' } } })
/** All gateways have been good for this long before the next fault. */
const SETTLE_MS = 1500
/** What follows a promotion within this time is documented as the window that is left (docs/database.md). */
const WINDOW_MS = 250

const say = (line: string) => void process.stdout.write(`${line}\n`)
const cluster = await startCluster()
let setUps: SetUps | null = null

async function close(): Promise<void> {
  await setUps?.close()
  await cluster.close()
}

for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.once(signal, () => void close().finally(() => process.exit(1)))
const code = await main().finally(close)
process.exit(code)

async function main(): Promise<number> {
  const began = performance.now()
  const leader = await cluster.whole()
  const tokens = await fillTable(leader)
  setUps = await startSetUps(cluster)
  const { all } = setUps
  say(`the cluster and ${all.length * 3} gateways are there`)
  const traffic = await startTraffic(cluster, all, tokens)
  const watch = watchConnections(cluster.nodes)
  const rows: Row[] = []
  for (const fault of FAULTS.filter(({ name }) => name.includes(values.only))) {
    await settle(cluster, traffic, setUps)
    for (const { role } of all) watch.takeMost(role)
    const from = performance.now()
    const newPrimaryAt = await fault.run(cluster, (await cluster.leader())!)
    await settle(cluster, traffic, setUps)
    const period: Period = { fault: fault.name, from, to: performance.now(), newPrimaryAt }
    for (const setUp of all) rows.push(rowOf(period, setUp, traffic, watch.takeMost(setUp.role)))
    say(`${fault.name}: ${Math.round((performance.now() - from) / 1000)} s`)
  }
  watch.stop()
  await traffic.stop()
  say(`\n${tableOf(rows)}\n\nin ${Math.round((performance.now() - began) / 1000)} s`)
  return report(rows)
}

/** Waits until the cluster is whole, and every set-up has served good tokens alone for a while. */
async function settle({ whole }: Cluster, { seen, good }: Traffic, { all }: SetUps): Promise<void> {
  await whole()
  await until(async () => {
    const since = performance.now()
    await delay(SETTLE_MS)
    const recent = seen.filter(({ began, tokenId }) => began >= since && good.has(tokenId))
    return all.every((setUp) => {
      const mine = recent.filter((each) => each.setUp === setUp)
      return mine.length > 0 && mine.every(({ status }) => status === 200)
    })
  }).catch((cause: unknown) => {
    const last = all.map((setUp) => {
      const statuses = seen.filter((each) => each.setUp === setUp).slice(-20)
      return `${setUp.name}: ${statuses.map(({ status }) => status).join(' ')}`
    })
    throw new Error(`not all set-ups serve good tokens: ${last.join('; ')}`, { cause })
  })
}

/** @returns the exit code */
function report(rows: readonly Row[]): number {
  const problems = rows.flatMap(({ fault, setUp, staleMs, wrong, statuses }) => [
    ...(staleMs.some((ms) => ms > WINDOW_MS) ? [`${fault}, ${setUp}: stale admissions`] : []),
    ...(wrong > 0 ? [`${fault}, ${setUp}: ${wrong} good tokens were refused`] : []),
    ...[...statuses.keys()]
      .filter((status) => ![200, 401, 503].includes(status))
      .map((status) => `${fault}, ${setUp}: status ${status}`),
  ])
  for (const problem of problems) say(problem)
  return problems.length === 0 ? 0 : 1
}
