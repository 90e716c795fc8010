import type { Parsed } from './parsers.ts'
import type { Variable } from './variable.ts'

export type Reader = ReturnType<typeof createReader>

/**
 * Reads variables one by one and gathers what is wrong with them. An empty variable counts as not set. A secret's
 * value never gets into a problem's text.
 */
export function createReader(
  env: Readonly<Record<string, string | undefined>>,
  readFile: (path: string) => string | Buffer,
) {
  const problems: string[] = []
  const warnings: string[] = []
  const contents = new Map<string, Buffer>()
  const given = (name: string): string | null => {
    const value = env[name]
    return value === undefined || value === '' ? null : value
  }

  /** The variable's value, its default where it is not set or not good. */
  function read<T, D>(variable: Variable<T, D>): T | D {
    const { name, byDefault } = variable
    if (variable.file === 'path') file(name)
    const value = variable.file === 'or' ? valueOrFile(name) : given(name)
    if (value === null) return byDefault
    const parsed = variable.parse(value)
    if (parsed.ok) return parsed.value
    problems.push(`${name}: ${problemOf(parsed, variable.secret === true ? null : value)}`)
    return byDefault
  }

  /** The content of the file that the variable names, or null (with a problem) where there is none to read. */
  function file(name: string): string | null {
    const path = given(name)
    if (path === null) return null
    try {
      const found = readFile(path)
      const content = typeof found === 'string' ? Buffer.from(found) : found
      contents.set(name, content)
      return content.toString('utf8')
    } catch (error) {
      problems.push(`${name}: ${path} cannot be read (${reasonOf(error)}); expected a readable file`)
      return null
    }
  }

  /** The variable's own value, or what the file named by `NAME_FILE` holds. */
  function valueOrFile(name: string): string | null {
    const value = given(name)
    if (given(`${name}_FILE`) === null) return value
    if (value !== null) {
      problems.push(`${name} and ${name}_FILE are both set; expected one of them`)
      return value
    }
    const content = file(`${name}_FILE`)?.replace(/\r?\n$/, '') ?? null
    if (content === '') {
      problems.push(`${name}_FILE: ${given(`${name}_FILE`)} is empty; expected the value of ${name}`)
      return null
    }
    return content
  }

  return {
    problems,
    warnings,
    given,
    read,
    problem: (text: string) => void problems.push(text),
    warning: (text: string) => void warnings.push(text),
    /** The bytes of a file that a variable names and that was read, or null. */
    content: (name: string): Buffer | null => contents.get(name) ?? null,
  }
}

/** @param value null where it is not to be repeated */
function problemOf(parsed: Exclude<Parsed<unknown>, { ok: true }>, value: string | null): string {
  if ('problem' in parsed) return parsed.problem
  const found = value === null ? 'its value is not usable' : `found ${JSON.stringify(value)}`
  return `${found}; expected ${parsed.expected}`
}

function reasonOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : 'unreadable'
}
