import { setTimeout as delay } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { createBrowser, type Trip } from '../support/browser.ts'
import { brokenPromises } from '../support/promise-history.ts'
import { createSessionUser, failed } from '../support/session-user.ts'
import { judgeStreams, type Outage, touched } from './history.ts'
import { breakThings } from './outages.ts'
import { createTraffic, type Traffic } from './traffic.ts'
import { growth, listenerWarnings, readVitals, type Vitals, vitalsTable } from './vitals.ts'
import { createWorld, type World } from './world.ts'

const USERS = 40
const USER_PAUSE_MS = 400
const OUTAGE_EVERY_MS = 6000
const WARM_MS = 10_000
/** How often in a run the last instance is looked at. */
const LOOKS = 15
/** A stream ends by a notice, or by the next recheck (2 s) and its query. */
const STREAM_ENDS_WITHIN_MS = 5000
/** A request that was sent and not answered may still arrive. */
const REST_MS = 3000

const { values } = parseArgs({
  options: { minutes: { type: 'string', default: '10' }, plant: { type: 'boolean', default: false } },
})
const minutes = Number(values.minutes)
if (!(minutes > 0)) throw new Error(`--minutes: ${values.minutes}; expected a number above 0`)

const say = (line: string) => void process.stdout.write(`${line}\n`)
const world = await createWorld()
for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.once(signal, () => void world.close().finally(() => process.exit(1)))
const code = await soak(world).finally(() => world.close())
process.exit(code)

async function soak(world: World): Promise<number> {
  let going = true
  const running = () => going
  const outages: Outage[] = []
  const trips: Trip[] = []
  const problems: string[] = []
  const traffic = await createTraffic(world, { running, plant: values.plant })
  const users = Promise.all(Array.from({ length: USERS }, (_, n) => live(n, { running, trips, problems })))
  await delay(Math.min(WARM_MS, minutes * 20_000))
  const began = performance.now()
  const vitals: Vitals[] = []
  const broken = breakThings(world, outages, { running, everyMs: OUTAGE_EVERY_MS })
  for (let look = 1; look <= LOOKS; look++) {
    await delay(Math.max(0, began + (look / LOOKS) * minutes * 60_000 - performance.now()))
    vitals.push(await readVitals(world, began))
  }
  going = false
  await broken
  await Promise.all([users, traffic.done])
  await delay(REST_MS)
  say(`${minutes} minutes; the last instance, which was frozen at times and never ended:`)
  say(vitalsTable(vitals))
  return report(world, { traffic, outages, trips, problems, vitals })
}

/** One user through the balancer. */
async function live(
  n: number,
  { running, trips, problems }: { running: () => boolean; trips: Trip[]; problems: string[] },
): Promise<void> {
  const onProblem = (problem: string) => problems.push(`${performance.now().toFixed(0)} ${problem}`)
  const browser = createBrowser(`user-${n}`, world.origin, (trip) => void trips.push({ ...trip, body: '' }))
  const user = createSessionUser({ browser, random: Math.random, onProblem })
  await delay(Math.random() * 2000)
  while (running()) {
    await user.step()
    await delay(USER_PAUSE_MS * (0.5 + Math.random()))
  }
  await user.prove()
  browser.close()
}

interface Record {
  readonly traffic: Traffic
  readonly outages: readonly Outage[]
  readonly trips: readonly Trip[]
  readonly problems: readonly string[]
  readonly vitals: readonly Vitals[]
}

/** @returns the exit code */
function report(world: World, { traffic, outages, trips, problems, vitals }: Record): number {
  const { requests, revocations, streamEnds } = traffic
  const { arrived } = world.backend
  const broken = brokenPromises(requests, arrived, revocations)
  const [first] = revocations
  const planted = { tokenId: first?.tokenId ?? '', began: Number.MAX_VALUE, mark: 'planted' }
  const blind = brokenPromises([...requests, planted], new Set([...arrived, 'planted']), revocations)
  const streams = judgeStreams(streamEnds, outages, STREAM_ENDS_WITHIN_MS)
  const lost = trips.filter(failed)
  const undeserved = lost.filter(({ began, ended }) => !touched(began, ended, outages))
  const kinds = [...new Set(outages.map(({ kind }) => kind))]
  const at = (share: number) =>
    streams.closedAfterMs[Math.floor((streams.closedAfterMs.length - 1) * share)] ?? 0
  say(
    `outages: ${kinds.map((kind) => `${outages.filter((each) => each.kind === kind).length} ${kind}`).join(', ')}`,
  )
  say(
    `promise: ${requests.length} requests, ${requests.filter(({ mark }) => arrived.has(mark)).length} forwarded, ${revocations.length} revocations, ${broken.length} violations`,
  )
  say(
    `streams: ${traffic.streamsOpened} opened, ${streams.closedAfterMs.length} ended by revocation outside outages (p50 ${at(0.5).toFixed(0)} ms, worst ${at(1).toFixed(0)} ms), ${streams.late.length} late, ${streams.unexpected.length} ended without a cause`,
  )
  say(
    `users: ${trips.length} requests, ${trips.filter(({ path }) => path === '/-/refresh').length} refreshes, ${lost.length} without an answer or 5xx, of which ${undeserved.length} outside outages; ${problems.length} undeserved refusals`,
  )
  const grown = growth(vitals)
  const warned = listenerWarnings(world)
  say(
    `${grown.length === 0 ? 'nothing has grown' : grown.join(', ')}; ${warned} instances warned of listeners`,
  )
  for (const each of [...problems, ...undeserved.map((trip) => JSON.stringify(trip))].slice(0, 20))
    say(`  ${each}`)
  if (blind.length !== broken.length + 1) say('the checker does not find a planted violation')
  const good =
    broken.length === 0 &&
    blind.length === 1 &&
    problems.length === 0 &&
    undeserved.length === 0 &&
    streams.late.length === 0 &&
    streams.unexpected.length === 0 &&
    grown.length === 0 &&
    warned === 0 &&
    revocations.length > 0
  say(good ? 'good' : 'NOT GOOD')
  return good ? 0 : 1
}
