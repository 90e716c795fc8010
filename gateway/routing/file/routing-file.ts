import { dirname, resolve } from 'node:path'
import type { z } from 'zod'
import { quote } from '../../core/message-text.ts'
import type { OwnPaths } from '../../http/own-paths.ts'
import type { UpstreamConfig } from '../../upstreams/config.ts'
import { crossCheck } from './cross-checks.ts'
import {
  describeIssue,
  expectedType,
  type FileProblem,
  type Finding,
  locateFindings,
  problemAt,
} from './file-problems.ts'
import { defaultIdentity, fileSchema, type RouteConfig, type RoutingConfig } from './file-schema.ts'
import { findWarnings } from './file-warnings.ts'
import { type Duplicate, jsonPointer, parseJson } from './source-positions.ts'

export type { UpstreamConfig } from '../../upstreams/config.ts'
export { type FileProblem, formatProblem } from './file-problems.ts'
export type { IdentityConfig, RouteConfig, RoutingConfig } from './file-schema.ts'

export type ParsedRoutingFile =
  | {
      readonly ok: true
      readonly config: RoutingConfig
      /** Things that are valid but probably a mistake, in the order of the text. */
      readonly warnings: readonly FileProblem[]
    }
  | {
      readonly ok: false
      /** All problems, in the order of the text. A syntax error is always the only one. */
      readonly problems: readonly FileProblem[]
    }

type ParsedFile = z.output<typeof fileSchema>

export interface ReadOptions {
  /** The file's name in problems. */
  readonly shown?: string
  /** Whether the TLS files that it names are checked as well; false by default. */
  readonly opensFiles?: boolean
  /** Routes for these cause a warning; without it there is none. */
  readonly ownPaths?: OwnPaths
}

/**
 * Parses and checks a routing file. It is strict JSON (RFC 8259): no comments, no trailing commas, no byte order mark,
 * and no key twice in one object.
 *
 * In the result, defaults are filled in, durations are in milliseconds, file names absolute, hosts in lower case, and
 * prefixes have no trailing slash.
 *
 * @param path the file's path; used in problems, and to resolve the file names in it
 */
export function parseRoutingFile(
  text: string,
  path: string,
  { shown: file = path, opensFiles = false, ownPaths }: ReadOptions = {},
): ParsedRoutingFile {
  const json = parseJson(text)
  if (json.kind === 'bad') {
    const { found, expected } = json.problem
    return { ok: false, problems: [problemAt(file, json.problem, { path: [], found, expected })] }
  }
  const folder = dirname(path)
  const { value, positions, duplicates } = json
  const parsed = fileSchema.safeParse(value, { error: expectedType })
  const findings = [
    ...(parsed.error?.issues ?? []).flatMap((issue) => describeIssue(issue, positions)),
    ...crossCheck(value, positions, { identity: defaultIdentity, filesIn: opensFiles ? folder : null }),
  ]
  const problems = [
    ...locateFindings(file, withoutRepeated(findings, duplicates), positions),
    ...duplicates.map((duplicate) => describeDuplicate(duplicate, file)),
  ].sort(byPosition)
  if (problems.length > 0 || !parsed.success) return { ok: false, problems }
  const config = fillIn(parsed.data, value, folder)
  const warnings = locateFindings(file, findWarnings(config, ownPaths ?? null), positions).sort(byPosition)
  return { ok: true, config, warnings }
}

/** The value of a repeated key is not known, so nothing is said about it but that its key is repeated. */
function withoutRepeated(findings: readonly Finding[], duplicates: readonly Duplicate[]): readonly Finding[] {
  if (duplicates.length === 0) return findings
  const repeated = new Set(duplicates.map(({ path }) => jsonPointer(path)))
  return findings.filter(({ path }) => !path.some((_, i) => repeated.has(jsonPointer(path.slice(0, i + 1)))))
}

function describeDuplicate({ path, position, first, more }: Duplicate, file: string): FileProblem {
  const others = more === 0 ? '' : `, and ${more} more ${more === 1 ? 'follows' : 'follow'}`
  return problemAt(file, position, {
    path,
    found: `the key ${quote(String(path.at(-1)))} again`,
    expected: `each key once; it already stands at line ${first.line}${others}`,
  })
}

function byPosition(a: FileProblem, b: FileProblem): number {
  return a.line - b.line || a.column - b.column
}

/** @param written the file's content, of which only `parsed` knows that it is one */
function fillIn(parsed: ParsedFile, written: unknown, folder: string): RoutingConfig {
  const own = (written as { upstreams: Record<string, { timeouts?: { idle?: string } }> }).upstreams
  const upstreams = Object.entries(parsed.upstreams).map(([name, upstream]) => {
    const { timeouts } = upstream
    // The default is for answers: a WebSocket that says nothing for a minute is an ordinary one.
    const silenceMs = own[name]?.timeouts?.idle === undefined ? null : timeouts.idleMs
    return [name, withAbsoluteFiles({ ...upstream, timeouts: { ...timeouts, silenceMs } }, folder)] as const
  })
  return {
    identity: parsed.identity,
    upstreams: new Map(upstreams),
    routes: parsed.routes.flatMap(fillInRoute),
  }
}

function fillInRoute(route: ParsedFile['routes'][number], index: number): RouteConfig[] {
  const { host: listed, path, exact, ...others } = route
  // In another spelling it is the same host.
  const hosts = new Map([listed ?? []].flat().map((host) => [host.toLowerCase(), host]))
  const matched = { exact, path: exact ? path : path.replace(/(?<=.)\/$/, ''), index }
  if (hosts.size === 0) return [{ ...others, ...matched, label: path }]
  return [...hosts].map(([host, spelled]) => ({ ...others, ...matched, host, label: `${spelled}${path}` }))
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
