import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'

const FOLDERS = ['/usr/sbin', '/usr/bin', '/usr/local/sbin', '/usr/local/bin']

/** Where one of the system's programs is, or null: the tests must also pass where only Node and npm are. */
export function programPath(name: string): string | null {
  return FOLDERS.map((folder) => join(folder, name)).find(existsSync) ?? null
}

export interface Ended {
  /** The exit code; 0 is well. */
  readonly code: number
  /** stdout and stderr. */
  readonly output: string
}

/** Runs it to its end, for at most half a minute. */
export function run(program: string, args: readonly string[]): Promise<Ended> {
  return new Promise((resolve) => {
    execFile(program, args, { timeout: 30_000 }, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : Number(error.code ?? 1), output: stdout + stderr })
    })
  })
}
