/** One server of a connection URL. */
export interface DatabaseHost {
  readonly host: string
  readonly port: number
}

/** A connection URL, taken apart: the hosts are tried in turn by the gateway itself. */
export interface DatabaseAddress {
  readonly hosts: readonly DatabaseHost[]
  readonly user: string | undefined
  readonly password: string | undefined
  readonly database: string | undefined
  /** `sslmode`, as postgres.js takes it. */
  readonly ssl: string | false
  /** Further parameters of the URL, sent to the server at the start of a connection. */
  readonly parameters: Readonly<Record<string, string>>
}

const DEFAULT_PORT = 5432

/**
 * Parameters of the URL that are the client's business, not the server's: it would refuse the connection. Those of libpq
 * (PostgreSQL manual, section 34.1.2), and what providers and Prisma put into a URL.
 */
const CLIENT_ONLY = new Set([
  ...['sslmode', 'ssl', 'sslnegotiation', 'target_session_attrs', 'load_balance_hosts', 'connect_timeout'],
  ...['application_name', 'fallback_application_name', 'channel_binding', 'gssencmode', 'require_auth'],
  ...['keepalives', 'keepalives_idle', 'keepalives_interval', 'keepalives_count', 'tcp_user_timeout'],
  ...['schema', 'connection_limit', 'pool_timeout', 'socket_timeout', 'pgbouncer', 'statement_cache_size'],
])

/** Parameters of libpq's that would change whom the connection leads to, or whom it trusts; the URL itself says that. */
const NOT_READ = ['host', 'hostaddr', 'port', 'user', 'password', 'dbname', 'service', 'passfile']
const NOT_READ_TLS = ['sslrootcert', 'sslcert', 'sslkey', 'sslpassword', 'sslcrl', 'sslcrldir']

const SSL_MODES = ['disable', 'prefer', 'require', 'verify-ca', 'verify-full']

/** What is wrong with a URL's parameters; null where nothing is. */
export function problemOfParameters({
  parameters,
  ssl,
}: Pick<DatabaseAddress, 'parameters' | 'ssl'>): string | null {
  if (ssl !== false && ssl !== 'true' && !SSL_MODES.includes(ssl))
    return `its sslmode is ${JSON.stringify(ssl)}; expected ${SSL_MODES.join(', ')}`
  const place = NOT_READ.find((name) => name in parameters)
  if (place !== undefined)
    return `its parameter "${place}" is not read; expected it in postgres://user:password@host:port/database`
  const tls = NOT_READ_TLS.find((name) => name in parameters)
  if (tls === undefined) return null
  return `its parameter "${tls}" is not read; expected sslmode alone, and a further authority in NODE_EXTRA_CA_CERTS`
}

/**
 * Takes `postgres://user:password@a:5432,b:5433/db?sslmode=require` apart (PostgreSQL manual, section 34.1.1.2).
 * `sslmode` is `disable`, `prefer`, `require`, `verify-ca` or `verify-full`.
 *
 * @param url begins with `postgres://` or `postgresql://`
 * @throws TypeError or URIError where the rest is no URL, or not percent-encoded
 */
export function parseDatabaseUrl(url: string): DatabaseAddress {
  // The user ends at the last @, as in any URL (WHATWG URL, section 4.4).
  const parts = /^(postgres(?:ql)?:\/\/(?:[^/?#]*@)?)([^/?#]*)(.*)$/s.exec(url)
  const authority = parts?.[2] ?? ''
  const parsed = new URL(`${parts?.[1] ?? ''}host${parts?.[3] ?? ''}`)
  const parameters: Record<string, string> = Object.create(null)
  for (const [name, value] of parsed.searchParams) if (!CLIENT_ONLY.has(name)) parameters[name] = value
  const ssl = parsed.searchParams.get('sslmode') ?? parsed.searchParams.get('ssl')
  return {
    hosts: authority.split(',').map(parseHost),
    user: nonEmpty(decodeURIComponent(parsed.username)),
    password: nonEmpty(decodeURIComponent(parsed.password)),
    database: nonEmpty(decodeURIComponent(parsed.pathname.slice(1))),
    ssl: ssl === null || ssl === 'disable' || ssl === 'false' ? false : ssl,
    parameters,
  }
}

function parseHost(text: string): DatabaseHost {
  const parts = /^(?:\[(.*)\]|([^:]*))(?::(\d+))?$/.exec(text)
  const host = decodeURIComponent(parts?.[1] ?? parts?.[2] ?? '')
  return {
    host: parts !== null && host === '' ? 'localhost' : host,
    port: Number(parts?.[3] ?? DEFAULT_PORT),
  }
}

function nonEmpty(text: string): string | undefined {
  return text === '' ? undefined : text
}
