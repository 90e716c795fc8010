import type { LookupFunction } from 'node:net'
import type { Scheduler } from '../core/scheduler.ts'
import type { DatabaseAddress, DatabaseHost } from './address.ts'
import { openDatabase } from './database.ts'
import { createStateReader } from './timeline.ts'
import type { TimelineFence } from './timeline-fence.ts'
import { parseDatabaseUrl } from './url.ts'

/** Looks at every host of the URL, so that a promotion is known though no connection in use has failed. */
export interface TimelineWatch {
  /** Resolves once each host was looked at, or could not be. Never rejects. */
  readonly first: Promise<void>
  close(): Promise<void>
}

export interface TimelineWatchOptions {
  readonly url: string
  /** False behind a pooler that cannot keep prepared statements. */
  readonly prepare: boolean
  readonly scheduler: Scheduler
  readonly fence: TimelineFence
  readonly lookup?: LookupFunction | undefined
}

/** From the start of a look to that of the next: half of the 250 ms that are promised, since both may be late. */
const EVERY_MS = 125

/** The same after a look that failed, since each of them may cost the server a new process. */
const EVERY_MS_AFTER_FAILURE = 200

/** A server that does not tell its timeline is asked again only now and then. */
const EVERY_MS_UNTOLD = 30_000

/** A look past this is cancelled. Shorter, it would cost a busy server one new connection after the other. */
const DEADLINE_MS = 1000

/** Holds one connection to each host; none where there is one host only, since there is nothing to compare it with. */
export function watchTimelines(options: TimelineWatchOptions): TimelineWatch {
  const address = parseDatabaseUrl(options.url)
  const hosts = distinctHosts(address)
  const watches =
    hosts.length < 2 ? [] : hosts.map((host) => watchHost({ ...address, hosts: [host] }, options))
  return {
    first: Promise.all(watches.map(({ first }) => first)).then(() => {}),
    async close() {
      await Promise.all(watches.map((watch) => watch.close()))
    },
  }
}

function distinctHosts({ hosts }: DatabaseAddress): DatabaseHost[] {
  return [...new Map(hosts.map((each) => [`${each.host} ${each.port}`, each])).values()]
}

function watchHost(
  address: DatabaseAddress,
  { prepare, scheduler, fence, lookup }: TimelineWatchOptions,
): TimelineWatch {
  const database = openDatabase(address, {
    connections: 1,
    prepare,
    scheduler,
    purpose: 'look',
    anyServer: true,
    statementTimeoutMs: DEADLINE_MS,
    ...(lookup === undefined ? {} : { lookup }),
  })
  const readState = createStateReader((text) => database.query({ text, parameters: [] }, DEADLINE_MS))
  const first = Promise.withResolvers<void>()
  let closed = false
  let cancel = () => {}

  /** @returns milliseconds from the start of this look to that of the next */
  async function lookOnce(): Promise<number> {
    try {
      const state = await readState()
      if (state.kind === 'primary') fence.note(state.timeline)
      return state.kind === 'untold' ? EVERY_MS_UNTOLD : EVERY_MS
    } catch {
      // Whether the database can be used is found out, and reported, where it is used.
      return EVERY_MS_AFTER_FAILURE
    }
  }

  async function look(): Promise<void> {
    const began = scheduler.now()
    const everyMs = await lookOnce()
    first.resolve()
    if (!closed) cancel = scheduler.after(Math.max(0, began + everyMs - scheduler.now()), () => void look())
  }

  void look()
  return {
    first: first.promise,
    async close() {
      closed = true
      cancel()
      await database.close()
    },
  }
}
