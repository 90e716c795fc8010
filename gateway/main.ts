import { createRequire } from 'node:module'
import { type Arguments, readArguments } from './cli/arguments.ts'
import { COMMANDS } from './cli/commands.ts'
import type { Environment } from './cli/environment.ts'
import { helpOn, overview, usageOf } from './cli/help.ts'
import { hearSignals } from './cli/signals.ts'
import { paintFor } from './cli/terminal.ts'
import { SettingsError, UsageError } from './cli/usage.ts'
import { didYouMean } from './core/message-text.ts'

/** @returns the exit code: 0 done, 1 the answer is no, 2 wrong usage or settings */
type Run = (args: Arguments, environment: Environment) => Promise<number>

/** Loaded when it is asked for: help should not wait for a proxy. */
const RUNS: Readonly<Record<string, () => Promise<Run>>> = {
  serve: async () => {
    const signals = hearSignals(
      (name, listener) => process.on(name, listener),
      () => performance.now(),
    )
    const { serve } = await import('./cli/serve.ts')
    return (_args, environment) =>
      serve({ ...environment, stdout: process.stdout, version: version(), signals })
  },
  check: async () => (await import('./cli/check.ts')).check,
  explain: async () => (await import('./cli/explain.ts')).explain,
  'token issue': async () => (await import('./cli/token.ts')).issue,
  'token revoke': async () => (await import('./cli/token.ts')).revoke,
  'token list': async () => (await import('./cli/token.ts')).list,
  schema: async () => (await import('./cli/schema.ts')).schema,
  help: async () => help,
}

/** Variables of libpq's and of postgres.js's (PGHOST, PGOPTIONS, PGTARGETSESSIONATTRS): DATABASE_URL alone decides. */
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
  if (first === '--help' || first === '-h') return print(overview)
  if (first === '--version' || first === '-v') {
    process.stdout.write(`${version()}\n`)
    return 0
  }
  const isGroup = COMMANDS.some(({ name }) => name.startsWith(`${first} `))
  if (isGroup && (rest[0] === '--help' || rest[0] === '-h')) return helpOnAll([first])
  const name = isGroup ? `${first} ${rest.shift() ?? ''}`.trim() : first
  const command = COMMANDS.find((each) => each.name === name)
  if (command === undefined) throw unknownCommand(name)
  try {
    const args = readArguments(command, rest)
    if (args.has('help')) return print((paint) => helpOn(command, paint))
    const run = await RUNS[command.name]!()
    if (command.name !== 'serve') passOverClosedPipes()
    return await run(args, environment)
  } catch (error) {
    if (error instanceof UsageError && error.command === null) throw new UsageError(error.message, command)
    throw error
  }
}

async function help({ positionals }: Arguments): Promise<number> {
  return positionals.length === 0 ? print(overview) : helpOnAll(positionals)
}

/** `help token` is about all three. */
function helpOnAll(words: readonly string[]): number {
  const name = words.join(' ')
  const found = COMMANDS.filter((each) => each.name === name || each.name.startsWith(`${name} `))
  if (found.length === 0) throw unknownCommand(name)
  return print((paint) => found.map((command) => helpOn(command, paint)).join('\n'))
}

function print(text: (paint: ReturnType<typeof paintFor>) => string): number {
  process.stdout.write(text(paintFor(process.stdout, process.env)))
  return 0
}

function unknownCommand(name: string): UsageError {
  const names = COMMANDS.map((each) => each.name)
  if (name.startsWith('-')) return new UsageError(`unknown option ${name.slice(0, 40)}`)
  const shown = JSON.stringify(name.length > 40 ? `${name.slice(0, 20)}…` : name)
  const group = names.filter((each) => each.startsWith(`${name.split(' ')[0]} `))
  const expected = group.length === 0 ? '' : `; expected ${group.join(', ')}`
  return new UsageError(`${shown} is no command${didYouMean(name, names) || expected}`)
}

function version(): string {
  return (createRequire(import.meta.url)('../package.json') as { version: string }).version
}

/** A reader that has seen enough (`| head`) does not keep a command from doing what it was told. */
function passOverClosedPipes(): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EPIPE') throw error
    })
  }
}

function explainFailure(error: unknown): number {
  const { stderr, env } = process
  const say = (text: string) => stderr.write(`${paintFor(stderr, env).bad('poweron-gateway')}: ${text}\n`)
  if (error instanceof UsageError) {
    const { command } = error
    const usage = (command === null ? COMMANDS : [command]).map(usageOf).join('\n')
    const more = command === null ? 'help COMMAND' : `help ${command.name}`
    say(
      `${command === null ? '' : `${command.name}: `}${error.message}\n\nUsage:\n${usage}\n\npoweron-gateway ${more} has examples.`,
    )
    return 2
  }
  if (error instanceof SettingsError) {
    say(`settings that cannot be used:\n${error.reasons.map((reason) => `  ${reason}`).join('\n')}`)
    return 2
  }
  say(error instanceof Error ? error.message : String(error))
  return 1
}

/**
 * A pipe takes what was written in pieces: the process ends once it is out. One that nobody reads any more must not
 * hold up a gateway that was told to leave, a reader of pages may take its time.
 */
async function exit(code: number, isServing: boolean): Promise<never> {
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
  .then((code) => exit(code, (argv[0] ?? 'serve') === 'serve'))
