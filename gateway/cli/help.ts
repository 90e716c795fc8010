import type { Command } from './command.ts'
import { COMMANDS, HELP_OPTION } from './commands.ts'
import type { Paint } from './terminal.ts'

const PROGRAM = 'poweron-gateway'

/** The help of the program: every command with its summary. */
export function formatOverview(paint: Paint): string {
  const width = Math.max(...COMMANDS.map(({ name }) => name.length))
  const lines = COMMANDS.map(({ name, summary }) => `  ${PROGRAM} ${name.padEnd(width)}  ${summary}`)
  return `${paint.bold(PROGRAM)}: a reverse proxy that checks every request's session against PostgreSQL

${paint.bold('Usage:')}
${lines.join('\n')}
  ${PROGRAM} --help | --version

${paint.bold('Examples:')}
  npm start
      try the gateway with an embedded database and an echo backend
  ${PROGRAM} check upstreams.json
      check a routing file before it is deployed
  ${PROGRAM} explain --token "$JWT" https://app.example.com/admin
      why is a request refused?
  ${PROGRAM} token revoke --user alice
      refuse all tokens of a user from the next request on
  ${PROGRAM} schema | psql "$DATABASE_URL"
      create the table, its trigger and a role

${PROGRAM} help COMMAND has more. Settings are environment variables: docs/configuration.md.
`
}

/** The help of one command, with examples. */
export function formatHelp(command: Command, paint: Paint): string {
  const { summary, about, examples, exits } = command
  const options = [...command.options, HELP_OPTION].map((option) => ({
    shown: `--${option.name}${option.value === undefined ? '' : ` ${option.value}`}`,
    description: option.description,
  }))
  const width = Math.max(...options.map(({ shown }) => shown.length))
  return [
    `${paint.bold(`${PROGRAM} ${command.name}`)}: ${summary}\n`,
    `${paint.bold('Usage:')}\n${formatUsage(command)}\n`,
    `${about}\n`,
    `${paint.bold('Options:')}`,
    ...options.map(({ shown, description }) => `  ${shown.padEnd(width)}  ${description}`),
    `\n${paint.bold('Examples:')}`,
    ...examples.map(({ line, meaning }) => `  ${line}\n      ${meaning}`),
    `\n${paint.bold('Exit codes:')}`,
    ...Object.entries(exits).map(([code, means]) => `  ${code}  ${means}`),
    '',
  ].join('\n')
}

export function formatUsage({ name, usage }: Command): string {
  return `  ${PROGRAM} ${name}${usage === '' ? '' : ` ${usage}`}`
}
