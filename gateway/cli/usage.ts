import { UnusableError } from '../core/unusable-error.ts'
import type { Command } from './command.ts'

/** The command line was not understood; the process ends with 2 and the usage. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
  /** Whose usage helps, where that is known. */
  readonly command: Command | null

  constructor(message: string, command: Command | null = null) {
    super(message)
    this.command = command
  }
}

/** Settings that a command cannot work with; the process ends with 2. */
export class SettingsError extends UnusableError {
  override readonly name = 'SettingsError'
}
