import { limits, listeners, surroundings, tls } from './front-variables.ts'
import { logs, processes } from './process-variables.ts'
import { cookies, database, keys, refusals, sessions, streams } from './token-variables.ts'
import { traces } from './tracing-variables.ts'
import type { Group, Variables } from './variable.ts'

/*
 * Every environment variable that the gateway reads, by its key in `Settings`. The values, the
 * problems and docs/configuration.md all come from here.
 */

/** The groups in the order of the documents. */
export const GROUPS: readonly Group<Variables>[] = [
  surroundings,
  listeners,
  tls,
  database,
  keys,
  cookies,
  sessions,
  streams,
  refusals,
  limits,
  processes,
  logs,
  traces,
]

export const VARIABLES = {
  ...surroundings.variables,
  ...listeners.variables,
  ...tls.variables,
  ...database.variables,
  ...keys.variables,
  ...cookies.variables,
  ...sessions.variables,
  ...streams.variables,
  ...refusals.variables,
  ...limits.variables,
  ...processes.variables,
  ...logs.variables,
  ...traces.variables,
}

/** All names, including those with `_FILE`. */
export function variableNames(): string[] {
  return Object.values<Variables[string]>(VARIABLES).flatMap(({ name, file }) =>
    file === 'or' ? [name, `${name}_FILE`] : [name],
  )
}
