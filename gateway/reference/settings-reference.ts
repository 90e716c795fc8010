import type { Group, Variable, Variables } from '../settings/variable.ts'
import { codeSpan, markdownTable } from './markdown.ts'

const ABOUT = `## Settings

An empty variable counts as not set. Bad and missing ones end the start with one message that lists them all, and exit
code 2; a name that is nearly one of these is warned of. \`NAME_FILE\` names a file that holds the value instead, where a
row says so: secrets do not belong in an environment that others can read.

`

/** Every environment variable, by group. */
export function settingsReference(groups: readonly Group<Variables>[]): string {
  return `${ABOUT}${groups.map(section).join('\n')}`
}

function section({ title, about, variables }: Group<Variables>): string {
  const rows = Object.values<Variable<unknown>>(variables).map((variable) => [
    namesOf(variable),
    defaultOf(variable),
    describeAccepted(variable),
    variable.description,
  ])
  return `### ${title}\n\n${about}\n\n${markdownTable(['variable', 'default', 'accepts', 'meaning'], rows)}`
}

function namesOf({ name, file }: Variable<unknown>): string {
  return file === 'or' ? `${codeSpan(name)}, ${codeSpan(`${name}_FILE`)}` : codeSpan(name)
}

function defaultOf({ byDefault, defaultShown, unit }: Variable<unknown>): string {
  if (defaultShown === 'none') return defaultShown
  if (defaultShown !== undefined) return /^\S+$/.test(defaultShown) ? codeSpan(defaultShown) : defaultShown
  if (byDefault === null) return 'none'
  return `${codeSpan(String(byDefault))}${unit === undefined ? '' : ` ${unit}`}`
}

function describeAccepted({ accepts, unit, example }: Variable<unknown>): string {
  const measured = unit === undefined ? accepts : `${accepts}, in ${unit}`
  const isNamed = example === undefined || accepts.includes(codeSpan(example))
  return isNamed ? measured : `${measured}; such as ${codeSpan(example)}`
}
