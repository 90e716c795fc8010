import type { Parser } from './settings-parsers.ts'

export type Reader = ReturnType<typeof createReader>

/**
 * Reads variables one by one and gathers what is wrong with them. An empty variable counts as not set. A secret's
 * value never gets into a problem's text.
 */
export function createReader(
  env: Readonly<Record<string, string | undefined>>,
  readFile: (path: string) => string,
) {
  const problems: string[] = []
  const given = (name: string): string | null => {
    const value = env[name]
    return value === undefined || value === '' ? null : value
  }

  function read<T, D>(name: string, otherwise: D, parser: Parser<T>, { secret = false } = {}): T | D {
    const value = given(name)
    if (value === null) return otherwise
    const parsed = parser(value)
    if (parsed.ok) return parsed.value
    problems.push(
      `${name}: ${secret ? 'its value is not usable' : `found ${JSON.stringify(value)}`}; expected ${parsed.expected}`,
    )
    return otherwise
  }

  /** The content of the file that the variable names, or null (with a problem) where there is none to read. */
  function file(name: string): string | null {
    const path = given(name)
    if (path === null) return null
    try {
      return readFile(path)
    } catch (error) {
      problems.push(`${name}: ${path} cannot be read (${reasonOf(error)}); expected a readable file`)
      return null
    }
  }

  /** The variable's own value, or what the file named by `NAME_FILE` holds. */
  function secret(name: string): string | null {
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

  return { problems, given, read, file, secret, problem: (text: string) => void problems.push(text) }
}

function reasonOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : 'unreadable'
}
