import { readFile, writeFile } from 'node:fs/promises'
import { setTimeout as delay } from 'node:timers/promises'
import { until } from '../support/plain-gateway.ts'
import { isReady } from '../support/round-robin.ts'
import type { Outage } from './history.ts'
import { INSTANCES, type World } from './world.ts'

const RECOVERY_MS = 60_000
/** Time for requests that still wait when everything is ready again, for example in the balancer. */
const AFTERMATH_MS = 1500

/** Causes outages repeatedly. The last instance is sometimes frozen but never ended, so that its memory can be read. */
export async function breakThings(
  world: World,
  outages: Outage[],
  { running, everyMs }: { readonly running: () => boolean; readonly everyMs: number },
): Promise<void> {
  const { fleet, pg } = world
  const mortal = () => Math.floor(Math.random() * (INSTANCES - 1))
  const kinds: readonly (readonly [string, () => Promise<unknown>])[] = [
    [
      'kill',
      async () => {
        const slot = mortal()
        await fleet.kill(slot)
        await fleet.start(slot)
      },
    ],
    [
      'restart',
      async () => {
        const slot = mortal()
        await fleet.leave(slot)
        await fleet.start(slot)
      },
    ],
    [
      'freeze',
      async () => {
        const slot = Math.floor(Math.random() * INSTANCES)
        fleet.freeze(slot)
        await delay(3000)
        fleet.thaw(slot)
      },
    ],
    [
      'reload',
      async () => {
        const files = [...fleet.running.values()].map(({ upstreamsFile }) => upstreamsFile)
        for (const file of files) await writeFile(file, `${await readFile(file, 'utf8')}\n`)
      },
    ],
    [
      'database freeze',
      async () => {
        pg.freeze()
        await delay(3000)
        pg.thaw()
      },
    ],
    [
      'table lock',
      () =>
        world.sql
          .begin(async (sql) => {
            await sql`lock table "Token" in access exclusive mode`
            await delay(3000)
          })
          // The connection that was to hold the lock may not have come back from the outage before.
          .catch(() => {}),
    ],
    ['database restart', () => pg.stop('fast').then(() => pg.start())],
    ['database kill', () => pg.kill9().then(() => pg.start())],
    [
      'database connections',
      () =>
        world.sql`select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'poweron-gateway%'`,
    ],
  ]
  for (let turn = 0; ; turn++) {
    await delay(everyMs)
    if (!running()) return
    const [kind, run] = kinds[turn % kinds.length]!
    const outage: Outage = { kind, from: performance.now(), to: Infinity }
    outages.push(outage)
    await run()
    await until(
      async () => (await Promise.all(fleet.slots.map(isReady))).every((ready) => ready),
      RECOVERY_MS,
    )
    outage.to = performance.now() + AFTERMATH_MS
  }
}
