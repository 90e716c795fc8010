import type { Parsed } from './parsers.ts'
import type { Variable } from './variable.ts'

export type Reader = ReturnType<typeof createReader>

/**
 * Reads variables one by one and collects their problems. An empty variable counts as not set. The text of a problem
 * never contains the value of a secret.
 */
export function createReader(
  env: Readonly<Record<string, string | undefined>>,
  readFile: (path: string) => string | Buffer,
) {
  const problems: string[] = []
  const warnings: string[] = []
  const contents = new Map<string, Buffer>()
  const rawValue = (name: string): string | null => {
    const value = env[name]
    return value === undefined || value === '' ? null : value
  }

  /** @returns the variable's value, or its default where it is not set or has a problem */
  function read<T, D>(variable: Variable<T, D>): T | D {
    const { name, byDefault } = variable
    if (variable.file === 'path') readNamedFile(name)
    const value = variable.file === 'or' ? readValueOrFile(name) : rawValue(name)
    if (value === null) return byDefault
    const parsed = variable.parse(value)
    if (parsed.ok) return parsed.value
    problems.push(`${name}: ${describeProblem(parsed, variable.secret === true ? null : value)}`)
    return byDefault
  }

  /** @returns the content of the file that the variable names; null where it is not set, or cannot be read (a problem) */
  function readNamedFile(name: string): string | null {
    const path = rawValue(name)
    if (path === null) return null
    try {
      const found = readFile(path)
      const content = typeof found === 'string' ? Buffer.from(found) : found
      contents.set(name, content)
      return content.toString('utf8')
    } catch (error) {
      problems.push(`${name}: ${path} cannot be read (${errorCodeOf(error)}); expected a readable file`)
      return null
    }
  }

  /** @returns the variable's own value, or the content of the file that `NAME_FILE` names */
  function readValueOrFile(name: string): string | null {
    const value = rawValue(name)
    if (rawValue(`${name}_FILE`) === null) return value
    if (value !== null) {
      problems.push(`${name} and ${name}_FILE are both set; expected one of them`)
      return value
    }
    const content = readNamedFile(`${name}_FILE`)?.replace(/\r?\n$/, '') ?? null
    if (content === '') {
      problems.push(`${name}_FILE: ${rawValue(`${name}_FILE`)} is empty; expected the value of ${name}`)
      return null
    }
    return content
  }

  return {
    problems,
    warnings,
    rawValue,
    read,
    addProblem: (text: string) => void problems.push(text),
    addWarning: (text: string) => void warnings.push(text),
    /** The bytes of the file that a variable names; null where none was read. */
    contentOf: (name: string): Buffer | null => contents.get(name) ?? null,
  }
}

/** @param value null where it must not be repeated */
function describeProblem(parsed: Exclude<Parsed<unknown>, { ok: true }>, value: string | null): string {
  if ('problem' in parsed) return parsed.problem
  const found = value === null ? 'its value is not usable' : `found ${JSON.stringify(value)}`
  return `${found}; expected ${parsed.expected}`
}

function errorCodeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : 'unreadable'
}
