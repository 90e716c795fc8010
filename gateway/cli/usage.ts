import { UnusableError } from '../core/unusable-error.ts'
import type { Command } from './command.ts'

/** The command line cannot be understood; the process prints the usage and ends with exit code 2. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
  /** The command whose usage is printed; null where it is not known. */
  readonly command: Command | null

  constructor(message: string, command: Command | null = null) {
    super(message)
    this.command = command
  }
}

/** A command cannot work with these settings; the process ends with exit code 2. */
export class SettingsError extends UnusableError {
  override readonly name = 'SettingsError'
}
