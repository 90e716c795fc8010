import { describeLateAnswer } from './connection-faults.ts'
import type { FaultContext, FaultDescriber, FaultDescription } from './fault-description.ts'

const STOPPING: FaultDescription = {
  kind: 'stopping',
  problem: 'the database server is stopping, or its administrator ended the connection',
  remedy: 'start it again; the gateway needs no action',
}

const READ_ONLY: FaultDescription = {
  kind: 'read-only',
  problem: "the database server's transactions are read only",
  remedy:
    'point DATABASE_URL at the primary, or reset default_transaction_read_only for the role and the database',
}

const NO_TABLE: FaultDescriber = (_detail, { table }) => ({
  kind: 'table-missing',
  problem: `the token table ${table} does not exist, or its columns have changed`,
  remedy: 'make it (`schema` prints the SQL), or correct TOKEN_TABLE and TOKEN_COLUMNS',
})

/** Faults by PostgreSQL's SQLSTATEs (manual, appendix A). */
export const SERVER_FAULTS: ReadonlyMap<string, FaultDescriber> = new Map<string, FaultDescriber>([
  ['57014', describeLateAnswer],
  [
    '55P03',
    (_detail, { table }) => ({
      kind: 'lock',
      problem: `the token table ${table} is locked`,
      remedy: 'end the transaction that holds the lock (pg_locks shows it)',
    }),
  ],
  [
    '28P01',
    {
      kind: 'password',
      problem: 'the database server does not accept the password',
      remedy: 'correct the password in DATABASE_URL, or the role, and restart the gateway',
    },
  ],
  ['28000', describeLoginFault],
  [
    '3D000',
    {
      kind: 'database-missing',
      problem: 'the server has no such database',
      remedy: 'correct the name of the database in DATABASE_URL, or make it',
    },
  ],
  ['53300', describeMissingSlot],
  ['42501', describeMissingGrant],
  ['42P01', NO_TABLE],
  ['42703', NO_TABLE],
  ['3F000', NO_TABLE],
  ['57P01', STOPPING],
  ['57P02', { ...STOPPING, problem: 'the database server has crashed and starts again' }],
  ['57P03', describeStartup],
  ['25006', READ_ONLY],
])

/** Faults by classes of SQLSTATEs, for states without an entry of their own. */
export const SERVER_FAULT_CLASSES: readonly (readonly [RegExp, FaultDescriber])[] = [
  [/^08/, describePoolerFault],
  [
    /^53|^58/,
    {
      kind: 'server-resources',
      problem: 'the database server has run out of something: memory, disk or files',
      remedy: "look at the server's log and give it what it lacks",
    },
  ],
  [/^57/, STOPPING],
  [
    /^40/,
    {
      kind: 'collision',
      problem: 'transactions on the token table conflicted with each other',
      remedy: 'look at what else changes the table at the same time',
    },
  ],
  [
    /^22|^23/,
    {
      kind: 'row-refused',
      problem: 'the token table does not accept a value',
      remedy: 'compare the columns and constraints of the table with TOKEN_COLUMNS and TOKEN_STATUSES',
    },
  ],
  [/^42/, NO_TABLE],
]

function describeLoginFault(detail: string): FaultDescription {
  const kind = 'login'
  if (/not permitted to log in/.test(detail)) {
    const problem = 'the role of DATABASE_URL may not log in (NOLOGIN)'
    return { kind, problem, remedy: 'ALTER ROLE … LOGIN, or name another role in DATABASE_URL' }
  }
  if (/pg_hba\.conf/.test(detail)) {
    const tls = /no encryption|SSL off/.test(detail) ? ' (it came without TLS: see sslmode)' : ''
    const problem = `pg_hba.conf of the database server does not admit this host, role and database${tls}`
    return { kind, problem, remedy: 'add a line for them there and reload the server' }
  }
  if (/does not exist/.test(detail)) {
    const problem = 'the database server has no such role'
    return { kind, problem, remedy: 'make the role (`schema` prints the SQL), or correct DATABASE_URL' }
  }
  const problem = 'the database server refuses the role of DATABASE_URL'
  return { kind, problem, remedy: 'look at the role and at pg_hba.conf' }
}

function describeMissingSlot(detail: string): FaultDescription {
  const owner = /too many connections for (role|database)/.exec(detail)?.[1]
  if (owner !== undefined) {
    const limited = owner === 'role' ? 'role of DATABASE_URL' : 'database'
    return {
      kind: `no-slot-of-${owner}`,
      problem: `the ${limited} has no free connection slot (its CONNECTION LIMIT)`,
      remedy: `raise the limit (ALTER ${owner.toUpperCase()} … CONNECTION LIMIT), or end connections of others; the gateway needs DATABASE_POOL_SIZE and up to four more for each worker`,
    }
  }
  return {
    kind: 'no-slot-of-server',
    problem: 'the database server has no free connection slot (max_connections)',
    remedy: 'end connections of others (pg_stat_activity shows whose they are), or raise max_connections',
  }
}

function describeMissingGrant(detail: string, { table }: FaultContext): FaultDescription {
  const place = /permission denied for (schema|database)/.exec(detail)?.[1]
  const grant =
    place === 'schema'
      ? 'GRANT USAGE on its schema'
      : place === 'database'
        ? 'GRANT CONNECT on the database'
        : `GRANT SELECT on ${table} (UPDATE and INSERT too, with SESSION_ENDPOINTS=on)`
  return {
    kind: 'grant',
    problem: `the role of DATABASE_URL has no right to read the token table ${table}`,
    remedy: `${grant} to it; \`schema\` prints the SQL`,
  }
}

function describeStartup(detail: string): FaultDescription {
  if (/shutting down/.test(detail)) return STOPPING
  return {
    kind: 'starting',
    problem: 'the database server is starting up and accepts no queries yet',
    remedy: 'wait; where it takes long, look at its log',
  }
}

/** Poolers report all their own errors with SQLSTATE class 08. */
function describePoolerFault(detail: string): FaultDescription {
  if (/no more connections allowed|max_client_conn/.test(detail)) {
    return {
      kind: 'no-slot-of-pooler',
      problem: 'the pooler in front of the database has no free connection slot (max_client_conn)',
      remedy: 'raise it, or end connections of others',
    }
  }
  if (/query_wait_timeout/.test(detail)) {
    return {
      kind: 'pooler-busy',
      problem: "the pooler's own connections to the database are all busy (query_wait_timeout)",
      remedy: 'look for locks, slow queries and a frozen server; raise its default_pool_size',
    }
  }
  return {
    kind: 'pooler',
    problem: 'the database server, or a pooler in front of it, broke the connection off',
    remedy: 'look at the log of both',
  }
}
