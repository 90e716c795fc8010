import type { Arguments } from './arguments.ts'
import type { Command, Option } from './command.ts'
import { COMMANDS, HELP_OPTION } from './commands.ts'
import type { Environment } from './environment.ts'
import { UsageError } from './usage.ts'

const SHELLS = ['bash', 'zsh']
const PROGRAM = 'poweron-gateway'

/** `completion bash | zsh`: a script for the shell to source. */
export async function completion({ positionals }: Arguments, { stdout }: Environment): Promise<number> {
  const [shell] = positionals
  if (shell !== 'bash' && shell !== 'zsh') throw new UsageError('which shell? bash or zsh')
  stdout.write(shell === 'bash' ? bashScript() : zshScript())
  return 0
}

/** `token issue` is the word `issue` behind the word `token`. */
function firstWords(): string[] {
  return [...new Set(COMMANDS.map(({ name }) => name.split(' ')[0]!))]
}

function secondWords(first: string): string[] {
  return COMMANDS.flatMap(({ name }) => (name.startsWith(`${first} `) ? [name.slice(first.length + 1)] : []))
}

const optionsOf = ({ options }: Command): readonly Option[] => [...options, HELP_OPTION]

function wordsFor({ positional }: Command): readonly string[] {
  if (positional?.completes === 'shell') return SHELLS
  return positional?.completes === 'command' ? firstWords().filter((name) => name !== 'help') : []
}

function bashScript(): string {
  const cases = COMMANDS.map((command) => {
    const options = optionsOf(command)
    const words = [...options.map(({ name }) => `--${name}`), ...wordsFor(command)].join(' ')
    const files = command.positional?.completes === 'file' ? ' files=1' : ''
    return `    '${command.name}') words='${words}'${files} ;;`
  })
  const groups = firstWords().flatMap((first) => {
    const second = secondWords(first)
    return second.length === 0 ? [] : [`    ${first}) words='${second.join(' ')}' ;;`]
  })
  const values = COMMANDS.flatMap((command) =>
    command.options.flatMap(({ name, value, values: known = [] }) =>
      value === undefined ? [] : [`    '${command.name} --${name}') words='${known.join(' ')}' ;;`],
    ),
  )
  return `# bash completion of ${PROGRAM}: source <(${PROGRAM} completion bash)
_poweron_gateway() {
  local current="\${COMP_WORDS[COMP_CWORD]}" previous="\${COMP_WORDS[COMP_CWORD-1]}"
  local first="\${COMP_WORDS[1]}" command words='' files=''
  COMPREPLY=()
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W '${firstWords().join(' ')} --help --version' -- "$current"))
    return
  fi
  command="$first"
  case "$first" in
${groups.join('\n')}
  esac
  if [ -n "$words" ]; then
    if [ "$COMP_CWORD" -eq 2 ]; then
      COMPREPLY=($(compgen -W "$words" -- "$current"))
      return
    fi
    command="$first \${COMP_WORDS[2]}"
    words=''
  fi
  case "$command $previous" in
${values.join('\n')}
    *) case "$command" in
${cases.map((line) => `  ${line}`).join('\n')}
    esac ;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
  if [ -n "$files" ] && [ "\${current#-}" = "$current" ]; then
    compopt -o filenames 2>/dev/null
    COMPREPLY+=($(compgen -f -- "$current"))
  fi
}
complete -F _poweron_gateway ${PROGRAM}
`
}

function zshScript(): string {
  const first = firstWords().map((word) => `'${word}:${zshText(summaryOf(word))}'`)
  const groups = firstWords().flatMap((word) => {
    const second = secondWords(word)
    if (second.length === 0) return []
    const described = second.map((each) => `'${each}:${zshText(summaryOf(`${word} ${each}`))}'`)
    return [
      `    ${word})
      if (( CURRENT == 3 )); then
        local -a actions=(${described.join(' ')})
        _describe action actions
        return
      fi
      command="${word} $words[3]"
      (( skip = 2 )) ;;`,
    ]
  })
  const cases = COMMANDS.map((command) => {
    const specs = [...optionsOf(command).map(zshOption), ...zshPositional(command)]
    return `    '${command.name}') _arguments ${specs.join(' ')} ;;`
  })
  return `#compdef ${PROGRAM}
# zsh completion of ${PROGRAM}: a file _${PROGRAM} in a folder of $fpath, or source it after compinit
_poweron_gateway() {
  local command="$words[2]"
  local -i skip=1
  if (( CURRENT == 2 )); then
    local -a commands=(${first.join(' ')})
    _describe command commands
    _values option --help --version
    return
  fi
  case "$command" in
${groups.join('\n')}
  esac
  shift $skip words
  (( CURRENT -= skip ))
  case "$command" in
${cases.join('\n')}
  esac
}
if [ "$funcstack[1]" = _poweron_gateway ] || [ "$funcstack[1]" = _${PROGRAM} ]; then
  _poweron_gateway "$@"
else
  compdef _poweron_gateway ${PROGRAM}
fi
`
}

function summaryOf(name: string): string {
  return COMMANDS.find((command) => command.name === name)?.summary ?? 'issue, revoke or list tokens'
}

function zshOption({ name, value, values = [], description, repeatable }: Option): string {
  const argument =
    value === undefined ? '' : `:${value}:${values.length === 0 ? ' ' : `(${values.join(' ')})`}`
  return `'${repeatable === true ? '*' : ''}--${name}[${zshText(description)}]${argument}'`
}

function zshPositional(command: Command): string[] {
  const { positional } = command
  if (positional === undefined) return []
  const words = wordsFor(command)
  const action =
    positional.completes === 'file' ? '_files' : words.length === 0 ? ' ' : `(${words.join(' ')})`
  return [`':${positional.name}:${action}'`]
}

/** Within single quotes, colons and brackets mean something to zsh's helpers. */
function zshText(text: string): string {
  return text.replaceAll("'", "'\\''").replace(/[[\]:]/g, '\\$&')
}
