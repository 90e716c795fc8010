import type { StoreFault } from '../../core/store-fault.ts'
import type { Cell, Database } from '../../database/database.ts'
import type { FaultContext } from './fault-description.ts'
import { describeFault, isLate } from './token-store-faults.ts'

/** Finds out why an answer was late. Never rejects. */
export type DiagnoseLateAnswer = (fault: StoreFault) => Promise<StoreFault>

/**
 * Milliseconds, also where look-ups have less: no request waits for the diagnosis, which mostly needs a new connection,
 * and a deadline that is too short makes a lock look like a frozen server.
 */
const DEADLINE_MS = 1000

/**
 * The locks on what a query of the token table has to lock: the table, the tables of a view, partitions and indexes. This
 * query waits for none of them. Every role may see the locks and their sessions, but not since when a session runs.
 */
const LOCKS = `
  with recursive locked(oid) as (
    select to_regclass($1)::oid
    union
    select next.oid from locked cross join lateral (
      select d.refobjid as oid from pg_catalog.pg_rewrite w
      join pg_catalog.pg_depend d on d.classid = 'pg_catalog.pg_rewrite'::regclass and d.objid = w.oid
      where w.ev_class = locked.oid and d.refclassid = 'pg_catalog.pg_class'::regclass
      union all
      select i.indexrelid from pg_catalog.pg_index i where i.indrelid = locked.oid
      union all
      select h.inhrelid from pg_catalog.pg_inherits h where h.inhparent = locked.oid
    ) as next
  )
  select l.granted, l.pid::text, a.application_name::text, a.usename::text,
         to_char(a.xact_start at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
         (select string_agg(b::text, ', ') from unnest(pg_blocking_pids(l.pid)) as b)
  from pg_catalog.pg_locks l left join pg_catalog.pg_stat_activity a on a.pid = l.pid
  where l.locktype = 'relation' and l.mode = 'AccessExclusiveLock' and l.relation in (select oid from locked)
    and l.database = (select d.oid from pg_catalog.pg_database d where d.datname = current_database())
  order by l.granted desc
  limit 1`

/**
 * A missed deadline of a look-up does not show its cause. One more query on another connection distinguishes a lock on the
 * table, a slow server, and a server that does not answer at all.
 */
export function createLateAnswerDiagnosis(
  database: Pick<Database, 'query'>,
  context: FaultContext,
): DiagnoseLateAnswer {
  const { table, timeoutMs } = context
  const late = `the look-up had no answer within ${Math.round(timeoutMs)} ms`
  return async (fault) => {
    let rows: Cell[][]
    try {
      const statement = { text: LOCKS, parameters: [table] }
      rows = await database.query(statement, DEADLINE_MS)
    } catch (error) {
      const found = describeFault(error, context)
      // There was no free connection, so the query was not sent.
      if (found.code === 'BUSY') return fault
      return isLate(found) ? silentServer(fault, late) : found
    }
    const [lock] = rows
    return lock === undefined ? slowServer(fault, late) : lockedTable(fault, table, lock)
  }
}

function silentServer({ code }: StoreFault, late: string): StoreFault {
  return {
    kind: 'silent',
    code,
    cause: `the database server does not answer at all (${code}: ${late}, nor had another query): it is frozen, overloaded or cut off; look at its machine, and at the network and the host in DATABASE_URL`,
  }
}

function slowServer({ code }: StoreFault, late: string): StoreFault {
  return {
    kind: 'slow',
    code,
    cause: `the database server answers, but look-ups of tokens are too slow (${code}: ${late}, and no lock holds it up); look at the load of the server, at its disks, and at the plan of the look-up (EXPLAIN)`,
  }
}

function lockedTable({ code }: StoreFault, table: string, lock: readonly Cell[]): StoreFault {
  const [granted, pid, application, user, since, blockers] = lock
  const facts = [
    user === null ? '' : `role ${user}`,
    application === null || application === '' ? '' : `application ${application}`,
    since === null ? '' : `since ${since}`,
  ].filter((fact) => fact !== '')
  const session = pid === null ? 'a prepared transaction' : `process ${pid}`
  const holder = facts.length === 0 ? session : `${session}, ${facts.join(', ')}`
  const how =
    granted === true
      ? `held by ${holder}`
      : `asked for by ${holder}, which waits for process ${blockers ?? 'unknown'}`
  const remedy =
    pid === null
      ? 'COMMIT PREPARED or ROLLBACK PREPARED it (pg_prepared_xacts)'
      : `end that transaction, or pg_terminate_backend(${granted === true ? pid : (blockers ?? pid)})`
  return { kind: 'lock', code, cause: `the token table ${table} is locked (${code}), ${how}; ${remedy}` }
}
