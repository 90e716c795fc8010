import { isUtf8 } from 'node:buffer'
import { createSecretKey, type KeyObject } from 'node:crypto'
import { KeyError, MAX_KEYS } from './key-error.ts'
import { refuseUtf16 } from './key-text.ts'
import { describeUnintendedParts, looksWrapped } from './secret-warnings.ts'

export interface Secrets {
  /** The first one signs, all verify. */
  readonly secrets: readonly [KeyObject, ...KeyObject[]]
  /** What looks like a mistake, without the secrets themselves. */
  readonly warnings: readonly string[]
}

interface Line {
  readonly number: number
  readonly text: string
}

/** RFC 7518, section 3.2: a key of the size of the hash output or larger. */
const MIN_SECRET_BYTES = 32

/** Reads one secret. @param place names it in messages @throws KeyError */
export function parseSecret(secret: string, place: string): Secrets {
  const key = secretKey(Buffer.from(secret))
  if (key === null) throw new KeyError([describeTooShort(place, Buffer.byteLength(secret))])
  return { secrets: [key], warnings: findWarnings(secret, place) }
}

/**
 * Reads one or several secrets, one a line. A file that is no text (because it is not UTF-8, or has a NUL) is one secret of
 * random bytes, some of which may be line breaks.
 *
 * @throws KeyError
 */
export function parseSecretFile(content: Buffer, path: string): Secrets {
  refuseUtf16(content, path)
  return isUtf8(content) && !content.includes(0)
    ? parseLines(content.toString('utf8'), path)
    : parseBinary(content, path)
}

function parseBinary(content: Buffer, path: string): Secrets {
  const secret = trimLineBreaks(content)
  const key = secretKey(secret)
  if (key === null) throw new KeyError([describeTooShort(path, secret.length)])
  const hasLineBreaks = content.includes(10) || content.includes(13)
  return {
    secrets: [key],
    warnings: hasLineBreaks
      ? [
          `${path}: is not UTF-8 text but holds line breaks; it counts as one secret of ${secret.length} bytes, without line breaks at the end (several secrets, one a line, have to be UTF-8 text)`,
        ]
      : [],
  }
}

function parseLines(content: string, path: string): Secrets {
  const lines = content
    .split('\n')
    .map((line, index): Line => ({ number: index + 1, text: line.replace(/\r+$/, '') }))
    .filter(({ text }) => text.trim() !== '')
  const problems = findProblems(lines, path)
  if (problems.length > 0) throw new KeyError(problems)
  const [first, ...others] = [...new Set(lines.map(({ text }) => text))].flatMap(
    (text) => secretKey(Buffer.from(text)) ?? [],
  )
  if (first === undefined) throw new KeyError([describeTooShort(path, 0)])
  const warnings = lines.flatMap(({ number, text }) => findWarnings(text, `${path}:${number}`))
  if (looksWrapped(lines.map(({ text }) => text))) {
    warnings.push(
      `${path}: its lines could be one base64 text that a tool has broken into lines; each line counts as a secret of its own, and the first one signs (write one secret on one line)`,
    )
  }
  return { secrets: [first, ...others], warnings }
}

function findProblems(lines: readonly Line[], path: string): string[] {
  if (lines.length > MAX_KEYS) return [`${path}: holds ${lines.length} secrets; expected at most ${MAX_KEYS}`]
  const several = lines.length > 1
  return lines.flatMap(({ number, text }) => {
    const place = `${path}:${number}`
    if (/^\s*-----BEGIN /.test(text))
      return [`${place}: is PEM; expected a secret (public keys go into JWT_PUBLIC_KEY_FILE)`]
    // A comment as a secret could be guessed, and tokens signed with it.
    if (several && /^\s*(?:#|\/\/|;)\s/.test(text))
      return [`${place}: is a comment; expected secrets alone, since each line verifies tokens`]
    const bytes = Buffer.byteLength(text)
    if (bytes >= MIN_SECRET_BYTES) return []
    return several
      ? [`${describeTooShort(place, bytes)} in each line (one a line: the first one signs, all verify)`]
      : [describeTooShort(path, bytes)]
  })
}

function findWarnings(secret: string, place: string): string[] {
  const found = describeUnintendedParts(secret)
  if (found.length === 0) return []
  return [`${place}: the secret ${found.join(', ')}; this counts as part of it; expected the secret alone`]
}

function trimLineBreaks(content: Buffer): Buffer {
  let end = content.length
  while (end > 0 && (content[end - 1] === 10 || content[end - 1] === 13)) end--
  return content.subarray(0, end)
}

function secretKey(secret: Buffer): KeyObject | null {
  return secret.length < MIN_SECRET_BYTES ? null : createSecretKey(secret)
}

function describeTooShort(place: string, bytes: number): string {
  return `${place}: the secret has ${bytes} bytes; expected at least ${MIN_SECRET_BYTES}`
}
