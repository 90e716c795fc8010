import { didYouMean, quote } from '../message-text.ts'
import { type Position, positionAt } from '../text-position.ts'

export const PLACEHOLDERS = ['status', 'code', 'title', 'requestId'] as const

export type Placeholder = (typeof PLACEHOLDERS)[number]

export type PageValues = Readonly<Record<Placeholder, string>>

/** A page with places for values. */
export interface PageTemplate {
  /** Literal texts; between two of them is a placeholder. */
  readonly literals: readonly string[]
  readonly placeholders: readonly Placeholder[]
}

/** Something in a template that looks like a placeholder and is none. */
export interface TemplateProblem {
  readonly position: Position
  readonly found: string
  readonly expected: string
}

export type ParsedTemplate =
  | { readonly ok: true; readonly template: PageTemplate }
  | { readonly ok: false; readonly problems: readonly TemplateProblem[] }

const KNOWN: readonly string[] = PLACEHOLDERS
const EXPECTED = '{{status}}, {{code}}, {{title}} or {{requestId}}'

/** A file of something else has many; the first ones show that. */
const MAX_PROBLEMS = 100

/** How much of a broken placeholder a problem repeats. */
const SHOWN = 24

/**
 * Takes a page apart at its placeholders. Each `{{` has to begin one, so that a mistyped placeholder is never shown to
 * a person. A `}}` alone is nothing special, since style sheets end with it.
 */
export function parseTemplate(text: string): ParsedTemplate {
  const literals: string[] = []
  const placeholders: Placeholder[] = []
  const problems: TemplateProblem[] = []
  let begin = 0
  for (let at = text.indexOf('{{'); at !== -1; at = text.indexOf('{{', begin)) {
    if (problems.length === MAX_PROBLEMS) break
    const [whole = '{{', name = ''] = /^\{\{\s*(\w+)\s*\}\}/.exec(text.slice(at, at + 200)) ?? []
    if (isPlaceholder(name)) {
      literals.push(text.slice(begin, at))
      placeholders.push(name)
    } else problems.push(problemAt(text, at, name))
    begin = at + whole.length
  }
  literals.push(text.slice(begin))
  return problems.length > 0 ? { ok: false, problems } : { ok: true, template: { literals, placeholders } }
}

function isPlaceholder(name: string): name is Placeholder {
  return KNOWN.includes(name)
}

function problemAt(text: string, at: number, name: string): TemplateProblem {
  const position = positionAt(text, at)
  if (name !== '') {
    const meant = didYouMean(name, KNOWN)
    return {
      position,
      found: `the unknown placeholder ${quote(`{{${name}}}`)}`,
      expected: `${EXPECTED}${meant}`,
    }
  }
  const [line = ''] = text.slice(at, at + SHOWN).split(/[\r\n]/)
  return { position, found: `the broken placeholder ${quote(line)}`, expected: EXPECTED }
}

/** Fills values in, escaped for HTML. */
export function fillTemplate({ literals, placeholders }: PageTemplate, values: PageValues): string {
  let html = literals[0]!
  for (const [i, placeholder] of placeholders.entries()) {
    html += escapeHtml(values[placeholder]) + literals[i + 1]!
  }
  return html
}

const ESCAPES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
}

export function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (char) => ESCAPES[char]!)
}
