import { readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import type { KeySource } from './auth/keys.ts'
import {
  DEFAULT_COLUMNS,
  parseTokenColumns,
  parseTokenTable,
  type TableName,
  type TokenColumns,
} from './auth/token-columns.ts'
import { checkTogether } from './settings-checks.ts'
import * as parse from './settings-parsers.ts'
import { createReader, type Reader } from './settings-reader.ts'

export type LogLevel = 'fatal' | 'error' | 'warn' | 'info' | 'debug' | 'trace' | 'silent'

/** All that the environment says, typed and checked. Times carry their unit in their name. */
export interface Settings {
  readonly production: boolean
  readonly host: string
  readonly port: number
  readonly adminHost: string
  readonly adminPort: number
  readonly upstreamsFile: string
  /** True where UPSTREAMS_FILE was given. */
  readonly upstreamsFileGiven: boolean
  /** Null: the embedded database; only outside production. */
  readonly databaseUrl: string | null
  readonly databasePoolSize: number
  readonly databasePrepare: boolean
  readonly lookupTimeoutMs: number
  readonly lookupQueueMax: number
  readonly tokenTable: TableName
  readonly tokenColumns: TokenColumns
  /** Null: a generated key; only outside production. */
  readonly keySource: KeySource | null
  readonly jwtAlgorithms: readonly string[] | null
  readonly jwtIssuer: string | null
  readonly jwtAudience: string | null
  readonly jwtClockToleranceS: number
  readonly accessCookie: string
  readonly refreshCookie: string
  readonly negativeCacheTtlUs: number
  readonly negativeCacheMax: number
  readonly gatewayPath: string
  readonly sessionEndpoints: boolean
  readonly accessTokenTtlS: number
  readonly refreshTokenTtlS: number
  readonly streamRecheckMs: number
  readonly streamFaultGraceMs: number
  readonly revocationChannel: string | null
  readonly trustedProxies: readonly string[]
  readonly workers: number
  readonly tlsCertFile: string | null
  readonly tlsKeyFile: string | null
  readonly maxHeaderBytes: number
  readonly headersTimeoutMs: number
  readonly requestTimeoutMs: number
  readonly keepAliveTimeoutMs: number
  readonly maxConnections: number
  readonly drainDelayMs: number
  readonly drainTimeoutMs: number
  readonly logLevel: LogLevel
  readonly accessLog: boolean
}

export type SettingsResult =
  | { readonly ok: true; readonly settings: Settings }
  | { readonly ok: false; readonly problems: readonly string[] }

export interface SettingsOptions {
  /** @throws where the file cannot be read */
  readonly readFile?: (path: string) => string
  readonly cores?: number
}

const DAY_MS = 86_400_000
const MIN_SECRET_BYTES = 32
/**
 * Reads the environment (interface, section 4). Empty variables count as not set. Secrets never come back in a
 * problem's text.
 */
export function readSettings(
  env: Readonly<Record<string, string | undefined>>,
  options: SettingsOptions = {},
): SettingsResult {
  const reader = createReader(env, options.readFile ?? ((path) => readFileSync(path, 'utf8')))
  const settings = readAll(reader, options.cores ?? availableParallelism())
  checkTogether(settings, reader)
  return reader.problems.length === 0 ? { ok: true, settings } : { ok: false, problems: reader.problems }
}

function readAll(reader: Reader, cores: number): Settings {
  const { read, given } = reader
  const ms = (name: string, otherwise: number, min: number, max = DAY_MS) =>
    read(name, otherwise, parse.integer(min, max))
  const count = (name: string, otherwise: number, min: number, max: number) =>
    read(name, otherwise, parse.integer(min, max))
  return {
    production: given('NODE_ENV') === 'production',
    host: read('HOST', '0.0.0.0', parse.text),
    port: count('PORT', 8080, 0, 65535),
    adminHost: read('ADMIN_HOST', '127.0.0.1', parse.text),
    adminPort: count('ADMIN_PORT', 9090, 0, 65535),
    upstreamsFile: read('UPSTREAMS_FILE', 'upstreams.json', parse.text),
    upstreamsFileGiven: given('UPSTREAMS_FILE') !== null,
    databaseUrl: readDatabaseUrl(reader),
    databasePoolSize: count('DATABASE_POOL_SIZE', 4, 1, 100),
    databasePrepare: read('DATABASE_PREPARE', true, parse.onOff),
    lookupTimeoutMs: ms('LOOKUP_TIMEOUT_MS', 1000, 10, 60_000),
    lookupQueueMax: count('LOOKUP_QUEUE_MAX', 10_000, 1, 1_000_000),
    tokenTable: readMapped(reader, 'TOKEN_TABLE', { schema: null, name: 'Token' }, parseTokenTable),
    tokenColumns: readMapped(reader, 'TOKEN_COLUMNS', DEFAULT_COLUMNS, parseTokenColumns),
    keySource: readKeySource(reader),
    jwtAlgorithms: read('JWT_ALGORITHMS', null, parse.list),
    jwtIssuer: read('JWT_ISSUER', null, parse.text),
    jwtAudience: read('JWT_AUDIENCE', null, parse.text),
    jwtClockToleranceS: count('JWT_CLOCK_TOLERANCE_S', 0, 0, 3600),
    accessCookie: read('ACCESS_COOKIE', 'auth_token', parse.cookieName),
    refreshCookie: read('REFRESH_COOKIE', 'refresh_token', parse.cookieName),
    negativeCacheTtlUs: count('NEGATIVE_CACHE_TTL_US', 0, 0, 3_600_000_000),
    negativeCacheMax: count('NEGATIVE_CACHE_MAX', 100_000, 1, 10_000_000),
    gatewayPath: read('GATEWAY_PATH', '/-', parse.pathPrefix),
    sessionEndpoints: read('SESSION_ENDPOINTS', false, parse.onOff),
    accessTokenTtlS: count('ACCESS_TOKEN_TTL_S', 900, 1, 31_536_000),
    refreshTokenTtlS: count('REFRESH_TOKEN_TTL_S', 604_800, 1, 315_360_000),
    streamRecheckMs: ms('STREAM_RECHECK_MS', 5000, 0),
    streamFaultGraceMs: ms('STREAM_FAULT_GRACE_MS', 300_000, 0),
    revocationChannel: read('REVOCATION_CHANNEL', null, parse.channel),
    trustedProxies: read('TRUSTED_PROXIES', [], parse.cidrs),
    workers: read('WORKERS', 1, parse.workers(cores)),
    tlsCertFile: readPath(reader, 'TLS_CERT_FILE'),
    tlsKeyFile: readPath(reader, 'TLS_KEY_FILE'),
    maxHeaderBytes: count('MAX_HEADER_BYTES', 16_384, 1024, 1_048_576),
    headersTimeoutMs: ms('HEADERS_TIMEOUT_MS', 10_000, 100),
    requestTimeoutMs: ms('REQUEST_TIMEOUT_MS', 300_000, 100),
    keepAliveTimeoutMs: ms('KEEP_ALIVE_TIMEOUT_MS', 65_000, 0),
    maxConnections: count('MAX_CONNECTIONS', 20_000, 1, 1_000_000),
    drainDelayMs: ms('DRAIN_DELAY_MS', 0, 0),
    drainTimeoutMs: ms('DRAIN_TIMEOUT_MS', 30_000, 0),
    logLevel: read(
      'LOG_LEVEL',
      'info',
      parse.oneOf('fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'),
    ),
    accessLog: read('ACCESS_LOG', true, parse.onOff),
  }
}

function readDatabaseUrl(reader: Reader): string | null {
  const value = reader.secret('DATABASE_URL')
  if (value === null) return null
  const parsed = parse.databaseUrl(value)
  if (!parsed.ok) reader.problem(`DATABASE_URL: its value is not usable; expected ${parsed.expected}`)
  return value
}

function readMapped<T>(
  reader: Reader,
  name: string,
  otherwise: T,
  parser: (text: string) => { ok: true; value: T } | { ok: false; problem: string },
): T {
  const value = reader.given(name)
  if (value === null) return otherwise
  const parsed = parser(value)
  if (parsed.ok) return parsed.value
  reader.problem(`${name}: ${parsed.problem}`)
  return otherwise
}

/** The name of a file that can be read now; what it holds is for others to judge. */
function readPath(reader: Reader, name: string): string | null {
  reader.file(name)
  return reader.given(name)
}

function readKeySource(reader: Reader): KeySource | null {
  const sources: KeySource[] = []
  const secret = reader.given('JWT_SECRET')
  const secretFile = reader.given('JWT_SECRET_FILE')
  const publicFile = reader.given('JWT_PUBLIC_KEY_FILE')
  const url = reader.given('JWT_JWKS_URL')
  if (secret !== null) sources.push({ kind: 'secret', secret })
  if (secretFile !== null) sources.push({ kind: 'secret-file', path: secretFile })
  if (publicFile !== null) sources.push({ kind: 'public-key-file', path: publicFile })
  if (url !== null) sources.push({ kind: 'jwks-url', url })
  if (sources.length > 1) {
    reader.problem(
      'JWT_SECRET, JWT_SECRET_FILE, JWT_PUBLIC_KEY_FILE, JWT_JWKS_URL: more than one is set; expected exactly one',
    )
  }
  if (secret !== null) checkLength('JWT_SECRET', secret, reader)
  const content = reader.file('JWT_SECRET_FILE')
  if (content !== null) checkLength('JWT_SECRET_FILE', content.replace(/[\r\n]+$/, ''), reader)
  reader.file('JWT_PUBLIC_KEY_FILE')
  reader.read('JWT_JWKS_URL', null, parse.httpUrl, { secret: true })
  return sources[0] ?? null
}

function checkLength(name: string, secret: string, reader: Reader): void {
  const bytes = Buffer.byteLength(secret)
  if (bytes < MIN_SECRET_BYTES) {
    reader.problem(`${name}: the secret has ${bytes} bytes; expected at least ${MIN_SECRET_BYTES}`)
  }
}
