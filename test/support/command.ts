import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'

export interface Run {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

export interface RunOptions {
  readonly env?: Readonly<Record<string, string>>
  readonly cwd?: string
  /** What standard input holds. */
  readonly input?: string | Uint8Array
}

const BIN = fileURLToPath(new URL('../../gateway/bin.mjs', import.meta.url))

/** The command as it is installed, with exactly these settings, none of the surroundings'. */
export async function runCommand(args: readonly string[], options: RunOptions = {}): Promise<Run> {
  const { env = {}, cwd, input = '' } = options
  const child = spawn(process.execPath, [BIN, ...args], {
    env: { PATH: process.env.PATH ?? '', HOME: process.env.HOME ?? '', ...env },
    ...(cwd === undefined ? {} : { cwd }),
  })
  let stdout = ''
  let stderr = ''
  child.stdout.setEncoding('utf8').on('data', (data) => {
    stdout += data
  })
  child.stderr.setEncoding('utf8').on('data', (data) => {
    stderr += data
  })
  // A command that reads nothing may have gone before it is all written.
  child.stdin.on('error', () => {})
  child.stdin.end(input)
  const [code] = await once(child, 'close')
  return { code: code as number | null, stdout, stderr }
}
