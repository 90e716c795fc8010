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
      /** About variables that look misspelled, and about keys that are unusual or ignored. */
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
 * Reads the environment. Empty variables count as not set. No problem repeats
 * a secret.
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
    upstreamsFileGiven: reader.rawValue('UPSTREAMS_FILE') !== null,
    keySource: keySourceOf(reader),
    workers: values.workers === 'auto' ? Math.max(1, cores) : values.workers,
  }
}

/** A schema in TOKEN_TABLE takes precedence over the `schema` of a URL as Prisma writes it. */
function tokenTableOf({ tokenTable, databaseUrl }: Pick<Values, 'tokenTable' | 'databaseUrl'>): TableName {
  const schema = databaseUrl === null ? null : parseDatabaseUrl(databaseUrl).schema
  return { ...tokenTable, schema: tokenTable.schema ?? schema }
}

function keySourceOf({ rawValue, addProblem }: Reader): KeySource | null {
  const sources: KeySource[] = []
  const secret = rawValue('JWT_SECRET')
  const secretFile = rawValue('JWT_SECRET_FILE')
  const publicFile = rawValue('JWT_PUBLIC_KEY_FILE')
  const url = rawValue('JWT_JWKS_URL')
  if (secret !== null) sources.push({ kind: 'secret', secret })
  if (secretFile !== null) sources.push({ kind: 'secret-file', path: secretFile })
  if (publicFile !== null) sources.push({ kind: 'public-key-file', path: publicFile })
  if (url !== null) sources.push({ kind: 'jwks-url', url })
  if (sources.length > 1) {
    addProblem(
      'JWT_SECRET, JWT_SECRET_FILE, JWT_PUBLIC_KEY_FILE, JWT_JWKS_URL: more than one is set; expected exactly one',
    )
  }
  return sources[0] ?? null
}

/** Shorter names are too similar to those of other programs: HOME differs from HOST by two letters. */
const MIN_MISSPELT = 8

/** With more edits a name may belong to another program: SSL_CERT_FILE of OpenSSL resembles TLS_CERT_FILE. */
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
