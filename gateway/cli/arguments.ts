import { parseArgs } from 'node:util'
import { closestCandidate } from '../core/message-text.ts'
import type { Command, Option } from './command.ts'
import { HELP_OPTION } from './commands.ts'
import { UsageError } from './usage.ts'

export interface Arguments {
  /** The option's last value, or null. */
  text(name: string): string | null
  /** All values of an option that may be repeated. */
  texts(name: string): readonly string[]
  /** True where the switch is set. */
  has(name: string): boolean
  readonly positionals: readonly string[]
}

/**
 * Reads the arguments that follow a command's name.
 *
 * @throws UsageError where the command does not take them, with the closest option where there is one
 */
export function readArguments(command: Command, args: readonly string[]): Arguments {
  const options = [...command.options, HELP_OPTION]
  const { tokens, positionals } = parseArgs({
    args: [...args],
    options: Object.fromEntries(options.map((option) => [option.name, typeOf(option)])),
    strict: false,
    allowPositionals: true,
    tokens: true,
  })
  const values = new Map<string, string[]>()
  for (const token of tokens) {
    if (token.kind !== 'option') continue
    const option = findOption(options, command, token.name, token.rawName)
    values.set(option.name, [...(values.get(option.name) ?? []), readValue(command, option, token)])
    if (values.get(option.name)!.length > 1 && option.repeatable !== true)
      throw new UsageError(`--${option.name} is given twice`, command)
  }
  const { positional } = command
  const extra = positionals[positional === undefined ? 0 : 1]
  if (extra !== undefined && positional?.manyWords !== true) {
    const expected = positional === undefined ? 'nothing but options' : `one ${positional.name}`
    throw new UsageError(`found ${quoteStart(extra)}; expected ${expected}`, command)
  }
  return {
    positionals,
    text: (name) => values.get(name)?.at(-1) ?? null,
    texts: (name) => values.get(name) ?? [],
    has: (name) => values.has(name),
  }
}

function typeOf(option: Option) {
  const type = option.value === undefined ? ('boolean' as const) : ('string' as const)
  return option === HELP_OPTION ? { type, short: 'h' } : { type }
}

function findOption(options: readonly Option[], command: Command, name: string, rawName: string): Option {
  const option = options.find((each) => each.name === name)
  if (option !== undefined) return option
  const names = options.map((each) => each.name)
  const meant =
    closestCandidate(name, names) ?? names.find((each) => name.length > 1 && each.startsWith(name))
  throw new UsageError(
    `unknown option ${rawName}${meant === undefined ? '' : `; did you mean --${meant}?`}`,
    command,
  )
}

function readValue(
  command: Command,
  option: Option,
  token: { readonly value?: string | undefined; readonly inlineValue?: boolean | undefined },
): string {
  const { value, inlineValue } = token
  if (option.value === undefined) {
    if (value !== undefined) throw new UsageError(`--${option.name} takes no value`, command)
    return ''
  }
  // In `--user --json` the value of --user was forgotten.
  const isOption = value !== undefined && inlineValue !== true && /^-./.test(value)
  if (value === undefined || value === '' || isOption) {
    const hint = isOption ? `; a value that begins with "-" is written --${option.name}=-…` : ''
    throw new UsageError(
      `--${option.name} needs a value, ${option.value}: ${option.description}${hint}`,
      command,
    )
  }
  return value
}

/** At most 20 characters of what was typed: it may be a token in the wrong place. */
function quoteStart(text: string): string {
  return JSON.stringify(text.length > 40 ? `${text.slice(0, 20)}…` : text)
}
