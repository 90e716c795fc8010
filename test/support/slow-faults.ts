import { setTimeout as delay } from 'node:timers/promises'
import postgres from 'postgres'
import type { Fault } from './fault-stage.ts'
import type { TestPostgres } from './postgres.ts'
import { signalQuietly } from './process-family.ts'

/** A fault in which the server does not end what it has begun, while the look-up's deadline passes. */
export interface SlowFault extends Fault {
  readonly title: string
  /** True where nobody at all is answered by the server meanwhile. */
  readonly silences: boolean
}

export interface SlowFaultsOptions {
  readonly server: TestPostgres
  readonly databaseUrl: string
  /** A superuser's, open already. */
  readonly admin: postgres.Sql
  readonly roles: readonly string[]
  /** How long each of them holds; many deadlines where absent. */
  readonly holdsMs?: number
}

const LOCK_MS = 6000
const SLEEP_MS = 3000
const FREEZE_MS = 3000

/** A connection that is lost at each of many deadlines is soon one too many. */
export function slowFaults(options: SlowFaultsOptions): SlowFault[] {
  return [lock(options), sleepingView(options), frozenBackend(options), frozenServer(options)]
}

function lock({ databaseUrl, holdsMs = LOCK_MS }: SlowFaultsOptions): SlowFault {
  const locker = postgres(databaseUrl, { max: 1, onnotice: () => {} })
  const released = Promise.withResolvers<void>()
  let ended = Promise.resolve()
  return {
    title: 'the table is locked',
    silences: false,
    async breaks() {
      const taken = Promise.withResolvers<void>()
      ended = locker.begin(async (tx) => {
        await tx`lock table "Token" in access exclusive mode`
        taken.resolve()
        await released.promise
      }) as Promise<void>
      await taken.promise
      await delay(holdsMs)
    },
    async mends() {
      released.resolve()
      await ended
      await locker.end()
    },
  }
}

function sleepingView({ databaseUrl, roles, holdsMs = SLEEP_MS }: SlowFaultsOptions): SlowFault {
  const owner = postgres(databaseUrl, { max: 1, onnotice: () => {} })
  return {
    title: 'the table is a view that sleeps for 30 s',
    silences: false,
    // A probe need not ask for a token.
    shows: 'answers',
    async breaks() {
      await owner.unsafe(`
        alter table "Token" rename to "Tokens";
        create view "Token" as select t.* from "Tokens" t, pg_sleep(30);
        grant select, insert, update on "Token" to ${roles.join(', ')}`)
      await delay(holdsMs)
    },
    async mends() {
      // It waits for the look-ups that sleep: those past their deadline should have gone.
      await owner.unsafe('drop view "Token"; alter table "Tokens" rename to "Token"')
      await owner.end()
    },
  }
}

function frozenBackend({ admin, roles, holdsMs = FREEZE_MS }: SlowFaultsOptions): SlowFault {
  const frozen: number[] = []
  return {
    title: 'one backend of each gateway is frozen',
    silences: false,
    shows: 'nowhere',
    async breaks() {
      const rows = await admin<{ pid: number }[]>`
        select min(pid) as pid from pg_stat_activity
        where usename in ${admin(roles)} and application_name = 'poweron-gateway' group by usename`
      for (const { pid } of rows) {
        signalQuietly(pid, 'SIGSTOP')
        frozen.push(pid)
      }
      await delay(holdsMs)
    },
    mends() {
      for (const pid of frozen) signalQuietly(pid, 'SIGCONT')
    },
  }
}

function frozenServer({ server, holdsMs = FREEZE_MS }: SlowFaultsOptions): SlowFault {
  return {
    title: 'the whole server is frozen',
    silences: true,
    async breaks() {
      server.freeze()
      await delay(holdsMs)
    },
    mends: () => server.thaw(),
  }
}
