import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { Readable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { type Arguments, readArguments } from '../../gateway/cli/arguments.ts'
import { COMMANDS } from '../../gateway/cli/commands.ts'
import type { Environment } from '../../gateway/cli/environment.ts'
import { surroundings, unwatched } from './surroundings.ts'

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
  const child = spawn(...unwatched(process.execPath, [BIN, ...args], env), {
    env: { ...surroundings(), ...env },
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

/** A command in this process: as `runCommand`, but for the command line as a whole and its exit codes of errors. */
export async function runHere(
  name: string,
  run: (args: Arguments, environment: Environment) => Promise<number>,
  args: readonly string[],
  { env = {}, cwd = process.cwd(), input = '' }: RunOptions = {},
): Promise<Run> {
  const written = { stdout: '', stderr: '' }
  const into = (stream: keyof typeof written) => ({ write: (text: string) => (written[stream] += text) })
  const code = await run(readArguments(COMMANDS.find((each) => each.name === name)!, args), {
    env,
    cwd,
    stdin: Readable.from([Buffer.from(input as Uint8Array)]),
    stdout: into('stdout'),
    stderr: into('stderr'),
  })
  return { code, ...written }
}
