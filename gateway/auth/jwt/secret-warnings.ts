/** The name of a variable before the secret; the equals signs that end base64 do not match. */
const ASSIGNMENT = /^(?:export\s+)?[\w-]*(?:JWT|SECRET|KEY|TOKEN)[\w-]*\s*[=:]\s*(?=[^\s=])/i
const QUOTED = /^(?:(["'`]).*\1|[“”„].*[“”]|[‘’].*[‘’])$/s

/**
 * Describes what is probably not meant to be part of the secret, without repeating the secret. The bytes are used
 * unchanged all the same: a backend that signs with the same file uses them too.
 */
export function describeUnintendedParts(secret: string): string[] {
  const unmarked = secret.replace(/^\uFEFF/, '')
  const core = unmarked.trim()
  const value = core.replace(ASSIGNMENT, '')
  const found: readonly (readonly [boolean, string])[] = [
    [unmarked !== secret, 'begins with a byte order mark'],
    [/^\s/.test(unmarked), 'begins with white space'],
    [/\s$/.test(unmarked), 'ends with white space'],
    [value !== core, 'begins with the name of a variable'],
    [QUOTED.test(value), 'is in quotes'],
    [/\\[nr]["'`]?$/.test(value), 'ends with a backslash and a letter in place of a line break'],
    [/^\{.*\}$/s.test(value), 'is a JSON object'],
    [/[\p{Cc}\p{Cf}]/u.test(core), 'holds characters that cannot be seen'],
    [core.includes('\uFFFD'), 'holds characters that could not be decoded'],
  ]
  return found.flatMap(([holds, words]) => (holds ? [words] : []))
}

/** Whether the lines could be one base64 text that a tool has wrapped: openssl at 64 characters, base64 at 76. */
export function looksWrapped(lines: readonly string[]): boolean {
  const width = lines[0]?.length
  if (lines.length < 2 || (width !== 64 && width !== 76)) return false
  const text = lines.join('')
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(text) || /^[0-9a-f]+$/i.test(text)) return false
  return lines.every(({ length }, i) => (i === lines.length - 1 ? length <= width : length === width))
}
