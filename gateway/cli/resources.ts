import type { KeySource } from '../auth/jwt/key-ring.ts'
import { readSettings } from '../settings/settings.ts'
import type { Settings } from '../settings/values.ts'
import type { Environment } from './environment.ts'
import { SettingsError } from './usage.ts'

/** What a command works with: the settings, and the embedded database and key where the settings name none. */
export interface CommandResources {
  readonly settings: Settings
  readonly databaseUrl: string
  readonly keySource: KeySource
}

/** @throws SettingsError with every problem */
export function loadSettings({ env, stderr }: Pick<Environment, 'env' | 'stderr'>): Settings {
  const read = readSettings(env)
  if (!read.ok) throw new SettingsError(read.problems)
  for (const warning of read.warnings) stderr.write(`poweron-gateway: warning: ${warning}\n`)
  return read.settings
}

/**
 * Gives a command the database and the key; outside production the embedded ones where none are set, as `serve`
 * does. Ends the embedded database again where it did not run before.
 */
export async function withResources<T>(
  environment: Environment,
  settings: Settings,
  work: (resources: CommandResources) => Promise<T>,
): Promise<T> {
  const { databaseUrl, keySource } = settings
  if (databaseUrl !== null && keySource !== null) return work({ settings, databaseUrl, keySource })
  const { provision } = await import('../dev/provision.ts')
  const provisions = await provision(settings, environment.cwd)
  try {
    return await work({ settings, ...provisions })
  } finally {
    await provisions.postgres?.stop()
  }
}
