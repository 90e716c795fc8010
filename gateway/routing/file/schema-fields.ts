import { z } from 'zod'
import { DURATION, milliseconds } from './formats.ts'

/*
 * The kinds of fields in the routing file. The message of each issue is what was expected; what was found, and where,
 * is read from the text of the file.
 */

/** A duration of more than a day is most likely a typing error. */
const MAX_DURATION_MS = 86_400_000

/** A string for which `check` returns null, and otherwise what it expected. */
export function checked(
  check: (value: string) => string | null,
  pattern?: { regex: RegExp; expected: string },
) {
  const base = pattern === undefined ? z.string() : matching(pattern.regex, pattern.expected)
  return base.refine((value) => check(value) === null, { error: ({ input }) => check(String(input)) ?? '' })
}

export function matching(expression: RegExp, expected: string) {
  return z.string().regex(expression, { error: expected, abort: true })
}

/** `DURATION` without 0, as a pattern for editors. */
const EDITORS_DURATION = '^[1-9]\\d{0,8}(?:ms|s|m)$'

/** A duration, converted to milliseconds. */
export function duration(byDefault: string, description: string) {
  // Most other proxies take a number here, in a unit of their own.
  return z
    .string({ error: 'a duration such as "5s", "500ms" or "1m"' })
    .regex(DURATION, { error: 'a duration such as 500ms, 5s or 1m', abort: true })
    .refine((value) => milliseconds(value) > 0 && milliseconds(value) <= MAX_DURATION_MS, {
      error: 'a duration from 1ms to 1440m',
    })
    .transform(milliseconds)
    .prefault(byDefault)
    .describe(`${description} \`500ms\`, \`5s\` or \`1m\`; the default is \`${byDefault}\`.`)
    .meta({ pattern: EDITORS_DURATION, examples: [byDefault] })
}

export function integer(least: number, most: number) {
  const error = `a whole number from ${least} to ${most}`
  return z.int({ error, abort: true }).min(least, { error, abort: true }).max(most, { error })
}

/** An object without unknown keys. Where there are some, the issue's message lists the known keys. */
export function strict<S extends z.ZodRawShape>(shape: S) {
  return z.strictObject(shape, {
    error: (issue) => (issue.code === 'unrecognized_keys' ? Object.keys(shape).join(' ') : undefined),
  })
}

export function list<T extends z.ZodType>(item: T, of: string) {
  return z.array(item).min(1, { error: `at least one ${of}` })
}
