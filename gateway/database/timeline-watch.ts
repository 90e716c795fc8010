import type { LookupFunction } from 'node:net'
import type { Scheduler } from '../core/scheduler.ts'
import type { DatabaseAddress, DatabaseHost } from './address.ts'
import { openDatabase } from './database.ts'
import { createStateReader, type ServerState } from './timeline.ts'
import type { TimelineFence } from './timeline-fence.ts'
import { describeHost, parseDatabaseUrl } from './url.ts'

/** Looks at every host of the URL, so that a promotion is known though no connection in use has failed. */
export interface TimelineWatch {
  /** Resolves once each host was looked at, or could not be. Never rejects. */
  readonly first: Promise<void>
  /** Hosts that were primaries at the last look, on older timelines than the newest one that is known. */
  readonly oldPrimaries: readonly string[]
  close(): Promise<void>
}

/** The looks at one host. */
interface HostWatch extends Pick<TimelineWatch, 'first' | 'close'> {
  readonly name: string
  /** By the last look; null where that failed. */
  readonly state: ServerState | null
}

export interface TimelineWatchOptions {
  readonly url: string
  /** False behind a pooler that cannot keep prepared statements. */
  readonly prepare: boolean
  readonly scheduler: Scheduler
  readonly fence: TimelineFence
  readonly lookup?: LookupFunction | undefined
  /** Called when `oldPrimaries` has changed. */
  readonly onOldPrimaries?: ((hosts: readonly string[]) => void) | undefined
}

/** From the start of a look to that of the next: half of the 250 ms that are promised, since both may be late. */
const EVERY_MS = 125

/** The same after a look that failed, since each of them may cost the server a new process. */
const EVERY_MS_AFTER_FAILURE = 200

/** A server that does not tell its timeline is asked again only now and then. */
const EVERY_MS_UNTOLD = 30_000

/** A look past this is cancelled. Shorter, it would cost a busy server one new connection after the other. */
const DEADLINE_MS = 1000

/**
 * A connection is replaced after this time: where the host is a balancer or a virtual address, an open connection stays
 * with the old primary, and a new one leads to the new primary.
 */
const RENEW_MS = 10_000

/** Holds one connection to each host; none where there is one host only, since there is nothing to compare it with. */
export function watchTimelines(options: TimelineWatchOptions): TimelineWatch {
  const address = parseDatabaseUrl(options.url)
  const hosts = distinctHosts(address)
  const { fence } = options
  const watches =
    hosts.length < 2
      ? []
      : hosts.map((host) => watchHost({ ...address, hosts: [host] as const }, options, onLook))
  let oldBefore = ''

  function oldPrimaries(): string[] {
    const isOld = ({ state }: HostWatch) => state?.kind === 'primary' && fence.isFenced(state.timeline)
    return watches.filter(isOld).map(({ name }) => name)
  }

  function onLook(): void {
    const old = oldPrimaries()
    if (old.join() === oldBefore) return
    oldBefore = old.join()
    options.onOldPrimaries?.(old)
  }

  return {
    get oldPrimaries() {
      return oldPrimaries()
    },
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
  address: DatabaseAddress & { readonly hosts: readonly [DatabaseHost] },
  { prepare, scheduler, fence, lookup }: TimelineWatchOptions,
  onLook: () => void,
): HostWatch {
  const open = () =>
    openDatabase(address, {
      connections: 1,
      prepare,
      scheduler,
      purpose: 'look',
      anyServer: true,
      statementTimeoutMs: DEADLINE_MS,
      ...(lookup === undefined ? {} : { lookup }),
    })
  let database = open()
  let openedAt = scheduler.now()
  const readState = createStateReader((text) => database.query({ text, parameters: [] }, DEADLINE_MS))
  const first = Promise.withResolvers<void>()
  let state: ServerState | null = null
  let closed = false
  let cancel = () => {}

  /** @returns milliseconds from the start of this look to that of the next */
  async function lookOnce(): Promise<number> {
    try {
      state = await readState()
      if (state.kind === 'primary') fence.note(state.timeline)
      return state.kind === 'untold' ? EVERY_MS_UNTOLD : EVERY_MS
    } catch {
      state = null
      // Whether the database can be used is found out, and reported, where it is used.
      return EVERY_MS_AFTER_FAILURE
    }
  }

  /** Not where the last look has failed: a host that is silent may never close what was closed at this side. */
  async function renew(): Promise<void> {
    if (state === null || scheduler.now() - openedAt < RENEW_MS) return
    await database.close()
    if (closed) return
    database = open()
    openedAt = scheduler.now()
  }

  async function look(): Promise<void> {
    await renew()
    const began = scheduler.now()
    const everyMs = await lookOnce()
    first.resolve()
    if (closed) return
    onLook()
    cancel = scheduler.after(Math.max(0, began + everyMs - scheduler.now()), () => void look())
  }

  void look()
  return {
    name: describeHost(address.hosts[0]),
    get state() {
      return state
    },
    first: first.promise,
    async close() {
      closed = true
      cancel()
      await database.close()
    },
  }
}
