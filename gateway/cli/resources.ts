import { join } from 'node:path'
import { describeDatabase, describeKey } from '../app/sources.ts'
import type { KeySource } from '../auth/jwt/key-ring.ts'
import { escapeInvisible } from '../core/message-text.ts'
import { readSettings } from '../settings/settings.ts'
import type { Settings } from '../settings/values.ts'
import type { Environment } from './environment.ts'
import { SettingsError } from './usage.ts'

/** What a command works with: by the settings, or where they name none, what `serve` left in the working folder. */
export interface CommandResources {
  readonly settings: Settings
  readonly databaseUrl: string
  /** Null only for a command that needs no key. */
  readonly keySource: KeySource | null
}

/** @throws SettingsError with every problem */
export function loadSettings({ env, stderr }: Pick<Environment, 'env' | 'stderr'>): Settings {
  const read = readSettings(env)
  if (!read.ok) throw new SettingsError(read.problems)
  for (const warning of read.warnings) stderr.write(`poweron-gateway: warning: ${warning}\n`)
  return read.settings
}

/** Says on stderr what a command uses, since the wrong database answers as readily as the right one. */
export function reportSource({ stderr }: Pick<Environment, 'stderr'>, what: string): void {
  stderr.write(`poweron-gateway: ${what}\n`)
}

/**
 * Gives a command the database and the key, and says on stderr which they are. Makes nothing: a command that made a
 * database would answer from an empty one. Ends the embedded database again where it did not run before.
 *
 * @throws SettingsError where one is missing
 */
export async function withResources<T>(
  environment: Environment,
  { settings, needsKey }: { readonly settings: Settings; readonly needsKey: boolean },
  work: (resources: CommandResources) => Promise<T>,
): Promise<T> {
  const { databaseUrl, keySource } = settings
  if (databaseUrl !== null && (keySource !== null || !needsKey)) {
    reportDatabase(environment, databaseUrl, null)
    reportKey(environment, keySource, keySource)
    return work({ settings, databaseUrl, keySource })
  }
  const { findProvisions } = await import('../dev/provision.ts')
  const found = await findProvisions(environment.cwd)
  const missing = missingSettings(environment.cwd, {
    database: databaseUrl === null && found.startDatabase === null,
    key: needsKey && keySource === null && found.keySource === null,
  })
  if (missing.length > 0) throw new SettingsError(missing)
  const embedded = databaseUrl === null ? await found.startDatabase!() : null
  try {
    const resources = {
      settings,
      databaseUrl: databaseUrl ?? embedded!.url,
      keySource: keySource ?? found.keySource,
    }
    reportDatabase(environment, resources.databaseUrl, embedded === null ? null : found.folder)
    reportKey(environment, resources.keySource, keySource)
    return await work(resources)
  } finally {
    await embedded?.stop()
  }
}

function reportDatabase(environment: Environment, url: string, folder: string | null): void {
  const from =
    folder !== null
      ? `embedded, in ${escapeInvisible(folder)}`
      : environment.env.DATABASE_URL
        ? 'DATABASE_URL'
        : 'DATABASE_URL_FILE'
  reportSource(environment, `database ${describeDatabase(url)} (${from})`)
}

function reportKey(environment: Environment, used: KeySource | null, given: KeySource | null): void {
  if (used !== null) reportSource(environment, `key from ${describeKey(used, given)}`)
}

function missingSettings(
  cwd: string,
  missing: { readonly database: boolean; readonly key: boolean },
): string[] {
  const data = escapeInvisible(join(cwd, '.data'))
  return [
    ...(missing.database
      ? [
          `DATABASE_URL: not set, and ${data} has no embedded database; expected postgres://…, or the working folder of a gateway that was started without it`,
        ]
      : []),
    ...(missing.key
      ? [
          `JWT_SECRET, JWT_SECRET_FILE, JWT_PUBLIC_KEY_FILE, JWT_JWKS_URL: none is set, and ${data} has no generated key; expected exactly one, or the working folder of a gateway that was started without`,
        ]
      : []),
  ]
}
