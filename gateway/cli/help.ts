import type { Command } from './command.ts'
import { COMMANDS, HELP_OPTION } from './commands.ts'
import type { Paint } from './terminal.ts'

const PROGRAM = 'poweron-gateway'

/** All commands at a glance. */
export function overview(paint: Paint): string {
  const width = Math.max(...COMMANDS.map(({ name }) => name.length))
  const lines = COMMANDS.map(({ name, summary }) => `  ${PROGRAM} ${name.padEnd(width)}  ${summary}`)
  return `${paint.bold(PROGRAM)}: a reverse proxy that checks every request's session against PostgreSQL

${paint.bold('Usage:')}
${lines.join('\n')}
  ${PROGRAM} --help | --version

${paint.bold('Examples:')}
  npm start
      try it: with an embedded database and an echo backend
  ${PROGRAM} check upstreams.json
      before a routing file is deployed
  ${PROGRAM} explain --token "$JWT" https://app.example.com/admin
      why was it refused?
  ${PROGRAM} token revoke --user alice
      everywhere, from the next request on
  ${PROGRAM} schema | psql "$DATABASE_URL"
      make the table, its trigger and a role

${PROGRAM} help COMMAND has more. Settings are environment variables: docs/configuration.md.
`
}

/** One command, by example. */
export function helpOn(command: Command, paint: Paint): string {
  const { summary, about, examples, exits } = command
  const options = [...command.options, HELP_OPTION].map((option) => ({
    shown: `--${option.name}${option.value === undefined ? '' : ` ${option.value}`}`,
    description: option.description,
  }))
  const width = Math.max(...options.map(({ shown }) => shown.length))
  return [
    `${paint.bold(`${PROGRAM} ${command.name}`)}: ${summary}\n`,
    `${paint.bold('Usage:')}\n${usageOf(command)}\n`,
    `${about}\n`,
    `${paint.bold('Options:')}`,
    ...options.map(({ shown, description }) => `  ${shown.padEnd(width)}  ${description}`),
    `\n${paint.bold('Examples:')}`,
    ...examples.map(({ line, says }) => `  ${line}\n      ${says}`),
    `\n${paint.bold('Exit codes:')}`,
    ...Object.entries(exits).map(([code, means]) => `  ${code}  ${means}`),
    '',
  ].join('\n')
}

export function usageOf({ name, usage }: Command): string {
  return `  ${PROGRAM} ${name}${usage === '' ? '' : ` ${usage}`}`
}
