import type { z } from 'zod'
import { didYouMean, escapeInvisible, quote, shorten } from '../../core/message-text.ts'
import type { Position } from '../../core/text-position.ts'
import { type JsonPath, jsonPointer, type SourcePositions } from './source-positions.ts'

/** A problem of a file and its position. */
export interface FileProblem {
  readonly file: string
  /** Counted from 1, like `column`. */
  readonly line: number
  readonly column: number
  /** JSON pointer (RFC 6901); empty for a syntax error. */
  readonly pointer: string
  readonly found: string
  readonly expected: string
  /** What is wrong, in one line, without the position. */
  readonly message: string
}

/** A problem whose position in the text is not known yet. */
export interface Finding {
  readonly path: JsonPath
  /** Whether the position is that of the key or of the value, which is the default. */
  readonly at?: 'key' | 'value'
  readonly found: string
  readonly expected: string
}

type Issue = z.core.$ZodIssue

const TYPES: Readonly<Record<string, string | undefined>> = {
  string: 'a string',
  object: 'an object',
  record: 'an object',
  array: 'an array',
  boolean: 'true or false',
}

/** What the schema expected, where none of its fields says it in other words. */
export function expectedType(issue: {
  readonly code?: string
  readonly expected?: unknown
}): string | undefined {
  return issue.code === 'invalid_type' ? TYPES[String(issue.expected)] : undefined
}

/** Formats a problem as one line: `FILE:LINE:COLUMN: POINTER: problem`. */
export function formatProblem({ file, line, column, pointer, message }: FileProblem): string {
  return `${file}:${line}:${column}: ${escapeInvisible(pointer)}: ${message}`
}

/** Formats a warning in the same way as `formatProblem`. */
export function formatWarning(problem: FileProblem): string {
  return formatProblem({ ...problem, message: `warning: ${problem.message}` })
}

export function problemAt(file: string, position: Position, finding: Finding): FileProblem {
  const { path, found, expected } = finding
  const { line, column } = position
  return {
    file,
    line,
    column,
    pointer: jsonPointer(path),
    found,
    expected,
    message: `found ${found}, expected ${expected}`,
  }
}

export function locateFindings(
  file: string,
  findings: readonly Finding[],
  positions: SourcePositions,
): FileProblem[] {
  return findings.map((finding) => {
    const position = finding.at === 'key' ? positions.ofKey(finding.path) : positions.ofValue(finding.path)
    return problemAt(file, position, finding)
  })
}

/** Describes an issue of the schema: what was found, and what was expected. The schema's messages are the latter. */
export function describeIssue(issue: Issue, positions: SourcePositions, within: JsonPath = []): Finding[] {
  const path = [...within, ...(issue.path as (string | number)[])]
  switch (issue.code) {
    case 'unrecognized_keys': {
      const known = issue.message.split(' ')
      return issue.keys.map((key) => ({
        path: [...path, key],
        at: 'key',
        found: `the unknown key ${quote(key)}`,
        expected: `one of ${known.join(', ')}${didYouMean(key, known)}`,
      }))
    }
    case 'invalid_key': {
      const expected = issue.issues[0]?.message ?? issue.message
      return [{ path, at: 'key', found: `the key ${quote(String(path.at(-1)))}`, expected }]
    }
    case 'invalid_union': {
      const branch = issue.errors.find((issues) => !issues.some(isOfOtherKind))
      if (branch !== undefined) return branch.flatMap((inner) => describeIssue(inner, positions, path))
      return [{ path, found: describeValue(path, positions), expected: issue.message }]
    }
    case 'invalid_type': {
      const expected = issue.message
      if (positions.textOf(path) !== '') return [{ path, found: describeValue(path, positions), expected }]
      return [{ path: path.slice(0, -1), found: `no ${quote(String(path.at(-1)))}`, expected }]
    }
    case 'invalid_value': {
      const values = issue.values.map(String)
      const found = describeValue(path, positions)
      const meant = found.startsWith('"') ? didYouMean(found.slice(1, -1), values) : ''
      return [{ path, found, expected: `${alternatives(values)}${meant}` }]
    }
    default:
      return [{ path, found: describeValue(path, positions), expected: issue.message }]
  }
}

function alternatives(values: readonly string[]): string {
  const shown = values.map((value) => JSON.stringify(value))
  return shown.length < 3 ? shown.join(' or ') : `${shown.slice(0, -1).join(', ')} or ${shown.at(-1)}`
}

/** True for an issue which shows that the file's author did not mean this branch of a union. */
function isOfOtherKind(issue: Issue): boolean {
  return issue.path.length === 0 && (issue.code === 'invalid_type' || issue.code === 'invalid_value')
}

/** The value as spelled in the file, shortened; header values and credentials in URLs are left out, as secrets. */
function describeValue(path: JsonPath, positions: SourcePositions): string {
  const text = positions.textOf(path)
  if (text.startsWith('{')) return 'an object'
  if (text.startsWith('[')) return /^\[\s*\]$/.test(text) ? 'an empty array' : 'an array'
  if (path.at(-2) === 'set' && text.startsWith('"')) return 'a value that is not repeated here'
  return shorten(text.replace(/\/\/[^/]*@/, '//…@'))
}
