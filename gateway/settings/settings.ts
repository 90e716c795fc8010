import { readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import type { KeySource } from '../auth/jwt/key-ring.ts'
import type { TableName } from '../auth/token-store/token-columns.ts'
import { closestCandidate } from '../core/message-text.ts'
import { parseDatabaseUrl } from '../database/url.ts'
import { checkCombinations } from './checks.ts'
import { createReader, type Reader } from './reader.ts'
import { VARIABLES, variableNames } from './table.ts'
import type { Settings, Values } from './values.ts'
import type { Variable } from './variable.ts'

export type SettingsResult =
  | {
      readonly ok: true
      readonly settings: Settings
      /** Of variables that look like misspelled ones of the gateway's, and of keys that are unusual or left out. */
      readonly warnings: readonly string[]
    }
  | { readonly ok: false; readonly problems: readonly string[] }

export interface SettingsOptions {
  /** @throws where the file cannot be read */
  readonly readFile?: (path: string) => string | Buffer
  readonly cores?: number
}

type Env = Readonly<Record<string, string | undefined>>

/**
 * Reads the environment (interface, section 4). Empty variables count as not set. Secrets never come back in a
 * problem's text.
 */
export function readSettings(env: Env, options: SettingsOptions = {}): SettingsResult {
  const reader = createReader(env, options.readFile ?? ((path) => readFileSync(path)))
  const settings = readAll(reader, options.cores ?? availableParallelism())
  checkCombinations(settings, reader)
  const hints = findMisspelledNames(env)
  return reader.problems.length === 0
    ? { ok: true, settings, warnings: [...hints, ...reader.warnings] }
    : { ok: false, problems: [...reader.problems, ...hints] }
}

function readAll(reader: Reader, cores: number): Settings {
  const read = Object.fromEntries(
    Object.entries<Variable<unknown>>(VARIABLES).map(([key, variable]) => [key, reader.read(variable)]),
  ) as unknown as Values
  const { jwtSecret: _1, jwtSecretFile: _2, jwtPublicKeyFile: _3, jwtJwksUrl: _4, ...values } = read
  return {
    ...values,
    tokenTable: tokenTableOf(values),
    upstreamsFileGiven: reader.given('UPSTREAMS_FILE') !== null,
    keySource: keySourceOf(reader),
    workers: values.workers === 'auto' ? Math.max(1, cores) : values.workers,
  }
}

/** Prisma's URLs say which schema the tables are in; the name of TOKEN_TABLE may say another. */
function tokenTableOf({ tokenTable, databaseUrl }: Pick<Values, 'tokenTable' | 'databaseUrl'>): TableName {
  const schema = databaseUrl === null ? null : parseDatabaseUrl(databaseUrl).schema
  return { ...tokenTable, schema: tokenTable.schema ?? schema }
}

function keySourceOf({ given, problem }: Reader): KeySource | null {
  const sources: KeySource[] = []
  const secret = given('JWT_SECRET')
  const secretFile = given('JWT_SECRET_FILE')
  const publicFile = given('JWT_PUBLIC_KEY_FILE')
  const url = given('JWT_JWKS_URL')
  if (secret !== null) sources.push({ kind: 'secret', secret })
  if (secretFile !== null) sources.push({ kind: 'secret-file', path: secretFile })
  if (publicFile !== null) sources.push({ kind: 'public-key-file', path: publicFile })
  if (url !== null) sources.push({ kind: 'jwks-url', url })
  if (sources.length > 1) {
    problem(
      'JWT_SECRET, JWT_SECRET_FILE, JWT_PUBLIC_KEY_FILE, JWT_JWKS_URL: more than one is set; expected exactly one',
    )
  }
  return sources[0] ?? null
}

/** Shorter names are too near to those of others: HOME is two letters from HOST. */
const MIN_MISSPELT = 8

/** Of further names one cannot be sure: SSL_CERT_FILE is two letters from TLS_CERT_FILE, and OpenSSL's. */
const MAX_EDITS = 1

function findMisspelledNames(env: Env): string[] {
  const names = variableNames()
  return Object.keys(env)
    .filter((name) => name.length >= MIN_MISSPELT && env[name] !== '' && !names.includes(name))
    .flatMap((name) => {
      const meant =
        names.find((known) => isOtherUnit(name, known)) ?? closestCandidate(name, names, MAX_EDITS)
      return meant === null || env[meant] ? [] : [`${name}: is not read; did you mean ${meant}?`]
    })
}

/** LOOKUP_TIMEOUT and LOOKUP_TIMEOUT_S for LOOKUP_TIMEOUT_MS. */
function isOtherUnit(name: string, known: string): boolean {
  const unit = /_(?:US|MS|S)$/
  return unit.test(known) && known.replace(unit, '') === name.replace(unit, '')
}
