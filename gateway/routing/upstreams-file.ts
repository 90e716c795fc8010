import { dirname, resolve } from 'node:path'
import type { z } from 'zod'
import { type FileProblem, findingsOf, locate, problemAt } from './file-problems.ts'
import { parseJson } from './source-positions.ts'
import { crossCheck } from './upstreams-checks.ts'
import {
  defaultIdentity,
  fileSchema,
  type RouteConfig,
  type UpstreamConfig,
  type UpstreamsConfig,
} from './upstreams-schema.ts'
import { quoted } from './wording.ts'

export { type FileProblem, formatProblem } from './file-problems.ts'
export type { IdentityConfig, RouteConfig, UpstreamConfig, UpstreamsConfig } from './upstreams-schema.ts'

export type UpstreamsFile =
  | { readonly ok: true; readonly config: UpstreamsConfig }
  | {
      readonly ok: false
      /** All of them, in the order of the text; a syntax error is the only one. */
      readonly problems: readonly FileProblem[]
    }

type ParsedFile = z.output<typeof fileSchema>

/**
 * Reads a routing file: strict JSON (RFC 8259; no comments, no trailing commas, no byte order mark, no key twice
 * in one object). Nothing but the text is looked at: files that it names are not opened.
 *
 * In the result defaults are filled in, durations are milliseconds, file names absolute, hosts in lower case, and
 * prefixes without the trailing slash that they may have in the file.
 *
 * @param file its name, for problems and for the file names in it
 */
export function readUpstreamsFile(text: string, file: string): UpstreamsFile {
  const json = parseJson(text)
  if (json.kind === 'bad') {
    const { found, expected } = json.problem
    return { ok: false, problems: [problemAt(file, json.problem, { path: [], found, expected })] }
  }
  const { value, positions, duplicates } = json
  const parsed = fileSchema.safeParse(value)
  const findings = [
    ...(parsed.error?.issues ?? []).flatMap((issue) => findingsOf(issue, positions)),
    ...crossCheck(value, positions, defaultIdentity),
  ]
  const repeated = duplicates.map(({ path, position, first }) =>
    problemAt(file, position, {
      path,
      found: `the key ${quoted(String(path.at(-1)))} again`,
      expected: `each key once; it is at line ${first.line} already`,
    }),
  )
  const problems = [...locate(file, findings, positions), ...repeated].sort(byPosition)
  if (problems.length > 0 || !parsed.success) return { ok: false, problems }
  return { ok: true, config: complete(parsed.data, dirname(file)) }
}

function byPosition(a: FileProblem, b: FileProblem): number {
  return a.line - b.line || a.column - b.column
}

function complete(parsed: ParsedFile, folder: string): UpstreamsConfig {
  const upstreams = Object.entries(parsed.upstreams).map(
    ([name, upstream]) => [name, withAbsoluteFiles(upstream, folder)] as const,
  )
  return {
    identity: parsed.identity,
    upstreams: new Map(upstreams),
    routes: parsed.routes.map(completeRoute),
  }
}

function completeRoute(route: ParsedFile['routes'][number]): RouteConfig {
  const { host, path, exact } = route
  return {
    ...route,
    ...(host === undefined ? {} : { host: host.toLowerCase() }),
    path: exact ? path : path.replace(/(?<=.)\/$/, ''),
    label: `${host ?? ''}${path}`,
  }
}

function withAbsoluteFiles(upstream: UpstreamConfig, folder: string): UpstreamConfig {
  const { tls } = upstream
  if (tls === undefined) return upstream
  const absolute = { ...tls }
  for (const key of ['caFile', 'certFile', 'keyFile'] as const) {
    if (tls[key] !== undefined) absolute[key] = resolve(folder, tls[key])
  }
  return { ...upstream, tls: absolute }
}
