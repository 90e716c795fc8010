import type { Writable } from 'node:stream'
import type { Environment } from './environment.ts'
import type { Signals } from './signals.ts'

export interface ServeEnvironment extends Omit<Environment, 'stdout'> {
  readonly stdout: Writable & { readonly fd?: number; readonly isTTY?: boolean }
  readonly version: string
  readonly signals: Signals
}
