import type { SecureVersion } from 'node:tls'
import type { DatabaseAddress, SslMode } from './address.ts'

type Parameters = Pick<
  DatabaseAddress,
  'tls' | 'applicationName' | 'connectTimeoutMs' | 'prepare' | 'schema' | 'parameters' | 'problems'
>

const SSL_MODES: readonly SslMode[] = ['disable', 'prefer', 'require', 'verify-ca', 'verify-full']
const TLS_VERSIONS: readonly SecureVersion[] = ['TLSv1', 'TLSv1.1', 'TLSv1.2', 'TLSv1.3']

interface FixedParameter {
  /** The values that need no action. */
  readonly values: readonly string[]
  /** What to write in place of any other value. */
  readonly instead: string
}

/** Parameters for which the gateway has a fixed behaviour. Values that request this behaviour are accepted. */
const FIXED_PARAMETERS: ReadonlyMap<string, FixedParameter> = new Map(
  Object.entries({
    target_session_attrs: {
      values: ['any', 'read-write', 'primary'],
      instead: 'only the primary is asked: leave it out',
    },
    load_balance_hosts: {
      values: ['disable'],
      instead: 'the hosts are tried in their order: leave it out',
    },
    channel_binding: {
      values: ['disable', 'prefer'],
      instead: 'channel binding is not supported: leave it out, and write sslmode=verify-full',
    },
    gssencmode: {
      values: ['disable', 'prefer'],
      instead: 'GSSAPI encryption is not supported: leave it out, and write sslmode=verify-full',
    },
    sslcertmode: {
      values: ['disable', 'allow'],
      instead: 'client certificates are not supported: leave it out',
    },
    sslcompression: { values: ['0'], instead: 'TLS is never compressed: leave it out' },
    keepalives: { values: ['1'], instead: 'connections are always kept alive: leave it out' },
    client_encoding: {
      values: ['UTF8', 'utf8', 'UTF-8', 'utf-8', 'auto'],
      instead: 'texts are exchanged as UTF-8: leave it out',
    },
    uselibpqcompat: {
      values: ['true'],
      instead: 'sslmode means what it means to libpq: leave it out, and write sslmode=verify-full',
    },
    replication: {
      values: ['false', 'off', 'no', '0'],
      instead: 'the gateway asks a table: leave it out',
    },
  }),
)

const IN_THE_URL = 'expected it in postgres://user:password@host:port/database'
const TRUST_BY_NODE =
  'expected sslmode alone, and a certificate authority of your own in the file that NODE_EXTRA_CA_CERTS names'
const POOL_SIZE = 'expected the setting DATABASE_POOL_SIZE'
const DEADLINE = 'expected the setting LOOKUP_TIMEOUT_MS, which bounds every wait for the database'
const PREPARE = 'expected the setting DATABASE_PREPARE'

/** Parameters that are refused, in lower case, with what to write instead. */
const REFUSED_PARAMETERS: ReadonlyMap<string, string> = new Map([
  ...namesWith(
    ['host'],
    `${IN_THE_URL} (a folder of sockets percent-encoded: postgres://%2Frun%2Fpostgresql/database)`,
  ),
  ...namesWith(['hostaddr', 'port', 'user', 'username', 'password', 'dbname', 'database'], IN_THE_URL),
  ...namesWith(['service', 'servicefile', 'passfile'], `files of libpq are not read: ${IN_THE_URL}`),
  ...namesWith(['sslrootcert', 'sslca', 'sslcrl', 'sslcrldir'], TRUST_BY_NODE),
  ...namesWith(
    ['sslcert', 'sslkey', 'sslpassword', 'sslidentity'],
    'client certificates are not supported: leave it out',
  ),
  ...namesWith(
    ['sslaccept'],
    'expected sslmode=verify-full for strict, sslmode=require for accept_invalid_certs',
  ),
  ...namesWith(['require_auth', 'requirepeer', 'krbsrvname', 'gsslib', 'gssdelegation'], 'leave it out'),
  ...namesWith(['keepalives_idle', 'keepalives_interval', 'keepalives_count', 'tcp_user_timeout'], DEADLINE),
  ...namesWith(
    ['pool_timeout', 'socket_timeout', 'query_timeout', 'connecttimeout', 'logintimeout'],
    DEADLINE,
  ),
  ...namesWith(['connection_limit', 'pool_max_conns', 'pool_size', 'max'], POOL_SIZE),
  ...namesWith(['max_idle_connection_lifetime', 'max_connection_lifetime'], 'leave it out'),
  ...namesWith(['preparethreshold', 'prepared_statements', 'statement-cache-capacity'], PREPARE),
  ...namesWith(['currentschema'], 'expected search_path, or the schema in TOKEN_TABLE'),
  ...namesWith(
    ['timezone', 'extra_float_digits', 'datestyle', 'intervalstyle'],
    'sessions run in UTC and with exact numbers: leave it out',
  ),
])

/** Settings of a session that are sent to the server unchanged. So are all with a dot, which extensions define. */
const SESSION_SETTINGS = new Set([
  ...['search_path', 'options', 'role', 'session_authorization', 'row_security', 'work_mem', 'jit'],
  ...['statement_timeout', 'lock_timeout', 'transaction_timeout', 'idle_in_transaction_session_timeout'],
  ...['idle_session_timeout', 'client_connection_check_interval', 'tcp_keepalives_idle'],
  ...['tcp_keepalives_interval', 'tcp_keepalives_count', 'default_transaction_read_only', 'plan_cache_mode'],
  ...['default_transaction_isolation', 'default_transaction_deferrable', 'synchronous_commit'],
  ...['log_min_duration_statement', 'log_statement', 'geqo', 'lc_messages'],
])

function namesWith(names: readonly string[], instead: string): [string, string][] {
  return names.map((name) => [name, instead])
}

/** Reads the parameters of a URL. Each is either obeyed, or a problem that names it and what to write instead. */
export function readParameters(search: URLSearchParams): Parameters {
  const problems: string[] = []
  const parameters: Record<string, string> = Object.create(null)
  const known = new Map<string, string>()
  for (const [name, value] of search) {
    if (known.has(name) && known.get(name) !== value)
      problems.push(`its parameter "${name}" is given twice; expected it once`)
    known.set(name, value)
  }
  const readParameter = <T>(
    name: string,
    read: (value: string) => T | null,
    expected: string,
    byDefault: T,
  ): T => {
    const value = known.get(name)
    if (value === undefined) return byDefault
    known.delete(name)
    const result = read(value)
    if (result === null) problems.push(`its ${name} is ${JSON.stringify(value)}; expected ${expected}`)
    return result ?? byDefault
  }
  const flag = (name: string, words: Readonly<Record<string, boolean>>, byDefault: boolean) =>
    readParameter(name, (value) => words[value] ?? null, Object.keys(words).join(' or '), byDefault)
  const version = (name: string) =>
    readParameter<SecureVersion | null>(
      name,
      (value) => TLS_VERSIONS.find((each) => each === value) ?? null,
      TLS_VERSIONS.join(', '),
      null,
    )

  const mode = readSslMode(readParameter)
  const direct = readParameter(
    'sslnegotiation',
    (value) => (value === 'direct' ? true : value === 'postgres' ? false : null),
    'postgres or direct',
    false,
  )
  if (direct && !['require', 'verify-ca', 'verify-full'].includes(mode))
    problems.push(
      'its sslnegotiation is "direct"; expected sslmode=require, verify-ca or verify-full with it',
    )
  const tls = {
    mode,
    direct,
    sendsName: flag('sslsni', { '1': true, '0': false }, true),
    minVersion: version('ssl_min_protocol_version'),
    maxVersion: version('ssl_max_protocol_version'),
  }
  const fallback = readParameter<string | null>('fallback_application_name', nonEmpty, 'a name', null)
  const applicationName = readParameter<string | null>('application_name', nonEmpty, 'a name', fallback)
  const connectTimeoutMs = readParameter<number | null>(
    'connect_timeout',
    readSeconds,
    'whole seconds, 2 at least, or 0 for none',
    null,
  )
  const pooled = flag('pgbouncer', { true: true, false: false }, false)
  const cached = readParameter(
    'statement_cache_size',
    (value) => (value === '0' ? false : null),
    '0; another size is not supported',
    true,
  )
  const schema = readParameter<string | null>('schema', nonEmpty, 'a name', null)
  for (const [name, value] of known) {
    const problem = findProblem(name, value)
    if (problem !== null) problems.push(problem)
    else if (!FIXED_PARAMETERS.has(name)) parameters[name] = value
  }
  return {
    tls,
    applicationName,
    connectTimeoutMs: connectTimeoutMs === 0 ? null : connectTimeoutMs,
    prepare: !pooled && cached,
    schema,
    parameters,
    problems,
  }
}

type ReadParameter = <T>(name: string, read: (value: string) => T | null, expected: string, byDefault: T) => T

/** `ssl=true` is read as JDBC and others do: the certificate is checked. */
function readSslMode(readParameter: ReadParameter): SslMode {
  const modes = (value: string) => SSL_MODES.find((each) => each === value) ?? null
  const bySsl = readParameter<SslMode>(
    'ssl',
    (value) => (value === 'true' ? 'verify-full' : value === 'false' ? 'disable' : modes(value)),
    'true or false',
    'disable',
  )
  return readParameter<SslMode>('sslmode', modes, SSL_MODES.join(', '), bySsl)
}

/** What is wrong with a parameter that was not read yet; null where it has no effect, or is a setting of the session. */
function findProblem(name: string, value: string): string | null {
  const fixed = FIXED_PARAMETERS.get(name)
  if (fixed !== undefined) {
    if (fixed.values.includes(value)) return null
    return `its ${name} is ${JSON.stringify(value)}, which is not supported; ${fixed.instead}`
  }
  const instead = REFUSED_PARAMETERS.get(name.toLowerCase())
  if (instead !== undefined) return `its parameter "${name}" is not read; ${instead}`
  if (SESSION_SETTINGS.has(name) || /^\w+\.\w+$/.test(name)) return null
  return `its parameter "${name}" is not known; leave it out, or set what the server is to know by ALTER ROLE … SET`
}

function nonEmpty(value: string): string | null {
  return value === '' ? null : value
}

/** As libpq reads it (PostgreSQL manual, section 34.1.2): 1 counts as 2. */
function readSeconds(value: string): number | null {
  if (!/^\d{1,6}$/.test(value)) return null
  return Number(value) === 0 ? 0 : Math.max(2, Number(value)) * 1000
}
