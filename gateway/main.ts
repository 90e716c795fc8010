import { createRequire } from 'node:module'
import { type Arguments, readArguments } from './cli/arguments.ts'
import { COMMANDS } from './cli/commands.ts'
import type { Environment } from './cli/environment.ts'
import { formatHelp, formatOverview, formatUsage } from './cli/help.ts'
import { watchSignals } from './cli/signals.ts'
import { paintFor } from './cli/terminal.ts'
import { SettingsError, UsageError } from './cli/usage.ts'
import { didYouMean } from './core/message-text.ts'

/** @returns the exit code: 0 done, 1 not done or the answer is no, 2 wrong usage or settings */
type CommandFunction = (args: Arguments, environment: Environment) => Promise<number>

/** Each is loaded only when it is run, so that help does not wait for the whole gateway to load. */
const COMMAND_FUNCTIONS: Readonly<Record<string, () => Promise<CommandFunction>>> = {
  serve: async () => {
    const signals = watchSignals(
      (name, listener) => process.on(name, listener),
      () => performance.now(),
    )
    const { serve } = await import('./cli/serve.ts')
    return (_args, environment) =>
      serve({ ...environment, stdout: process.stdout, version: packageVersion(), signals })
  },
  check: async () => (await import('./cli/check.ts')).checkRoutingFile,
  explain: async () => (await import('./cli/explain.ts')).explainRequest,
  'token issue': async () => (await import('./cli/token.ts')).issueToken,
  'token revoke': async () => (await import('./cli/token.ts')).revokeTokens,
  'token list': async () => (await import('./cli/token.ts')).listTokens,
  schema: async () => (await import('./cli/schema.ts')).printSchema,
  help: async () => printHelp,
}

/** Variables that libpq and postgres.js read (PGHOST, PGOPTIONS, PGTARGETSESSIONATTRS). They are removed: DATABASE_URL alone decides. */
const FOREIGN_VARIABLE = /^PG[A-Z_]+$/

const environment: Environment = {
  env: process.env,
  cwd: process.cwd(),
  stdin: process.stdin,
  stdout: process.stdout,
  stderr: process.stderr,
}

async function main(argv: readonly string[]): Promise<number> {
  const [first = 'serve', ...rest] = argv
  if (first === '--help' || first === '-h') return printText(formatOverview)
  if (first === '--version' || first === '-v') {
    process.stdout.write(`${packageVersion()}\n`)
    return 0
  }
  const isGroup = COMMANDS.some(({ name }) => name.startsWith(`${first} `))
  if (isGroup && (rest[0] === '--help' || rest[0] === '-h')) return printHelpOn([first])
  const name = isGroup ? `${first} ${rest.shift() ?? ''}`.trim() : first
  const command = COMMANDS.find((each) => each.name === name)
  if (command === undefined) throw unknownCommandError(name)
  try {
    const args = readArguments(command, rest)
    if (args.has('help')) return printText((paint) => formatHelp(command, paint))
    const run = await COMMAND_FUNCTIONS[command.name]!()
    if (command.name !== 'serve') ignoreClosedPipes()
    return await run(args, environment)
  } catch (error) {
    if (error instanceof UsageError && error.command === null) throw new UsageError(error.message, command)
    throw error
  }
}

async function printHelp({ positionals }: Arguments): Promise<number> {
  return positionals.length === 0 ? printText(formatOverview) : printHelpOn(positionals)
}

/** `help token` prints the help of every command that begins with this word. */
function printHelpOn(words: readonly string[]): number {
  const name = words.join(' ')
  const found = COMMANDS.filter((each) => each.name === name || each.name.startsWith(`${name} `))
  if (found.length === 0) throw unknownCommandError(name)
  return printText((paint) => found.map((command) => formatHelp(command, paint)).join('\n'))
}

function printText(text: (paint: ReturnType<typeof paintFor>) => string): number {
  process.stdout.write(text(paintFor(process.stdout, process.env)))
  return 0
}

function unknownCommandError(name: string): UsageError {
  const names = COMMANDS.map((each) => each.name)
  if (name.startsWith('-')) return new UsageError(`unknown option ${name.slice(0, 40)}`)
  const shown = JSON.stringify(name.length > 40 ? `${name.slice(0, 20)}…` : name)
  const group = names.filter((each) => each.startsWith(`${name.split(' ')[0]} `))
  const expected = group.length === 0 ? '' : `; expected ${group.join(', ')}`
  return new UsageError(`unknown command ${shown}${didYouMean(name, names) || expected}`)
}

function packageVersion(): string {
  return (createRequire(import.meta.url)('../package.json') as { version: string }).version
}

/** A reader that closes the pipe early (`| head`) does not keep a command from finishing its work. */
function ignoreClosedPipes(): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EPIPE') throw error
    })
  }
}

function explainFailure(error: unknown): number {
  const { stderr, env } = process
  const writeError = (text: string) =>
    stderr.write(`${paintFor(stderr, env).bad('poweron-gateway')}: ${text}\n`)
  if (error instanceof UsageError) {
    const { command } = error
    const usage = (command === null ? COMMANDS : [command]).map(formatUsage).join('\n')
    const more = command === null ? 'help COMMAND' : `help ${command.name}`
    writeError(
      `${command === null ? '' : `${command.name}: `}${error.message}\n\nUsage:\n${usage}\n\npoweron-gateway ${more} has examples.`,
    )
    return 2
  }
  if (error instanceof SettingsError) {
    writeError(`these settings cannot be used:\n${error.reasons.map((reason) => `  ${reason}`).join('\n')}`)
    return 2
  }
  writeError(error instanceof Error ? error.message : String(error))
  return 1
}

/**
 * Ends the process once stdout and stderr are written out, since a pipe takes its data in pieces. A gateway that
 * ends waits for at most a second, since its reader may have ended. A command waits as long as its reader needs.
 */
async function exitWhenWritten(code: number, isServing: boolean): Promise<never> {
  const written = [process.stdout, process.stderr].map((stream) => {
    stream.on('error', () => {})
    return stream.writableLength === 0 ? null : new Promise((resolve) => stream.write('', resolve))
  })
  const late = isServing ? new Promise((resolve) => setTimeout(resolve, 1000)) : new Promise(() => {})
  await Promise.race([Promise.all(written), late])
  process.exit(code)
}

for (const name of Object.keys(process.env)) if (FOREIGN_VARIABLE.test(name)) delete process.env[name]

const argv = process.argv.slice(2)
main(argv)
  .catch(explainFailure)
  .then((code) => exitWhenWritten(code, (argv[0] ?? 'serve') === 'serve'))
