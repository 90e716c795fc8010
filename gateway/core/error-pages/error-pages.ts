import { type ErrorCode, statusOf, titleOf } from '../errors.ts'
import { BUILT_IN_POLICY, builtInTemplate } from './built-in-page.ts'
import { fillTemplate, type PageTemplate } from './page-template.ts'

/** An error as a browser shows it to a person. */
export interface ErrorPage {
  readonly html: string
  /** `Content-Security-Policy`; null for an operator's page, which may say for itself what it loads. */
  readonly policy: string | null
}

export interface ErrorPages {
  pageFor(code: ErrorCode, requestId: string): ErrorPage
}

/** An operator's pages by the names of their files. */
export type PageTemplates = ReadonlyMap<string, PageTemplate>

export const NO_TEMPLATES: PageTemplates = new Map()

/** The file for all errors that have none of their own. */
const FALLBACK = 'error.html'

/** @param templates @returns the operator's pages that are in force */
export function createErrorPages(templates: () => PageTemplates): ErrorPages {
  const builtIn = new Map<ErrorCode, PageTemplate>()

  function builtInFor(code: ErrorCode): PageTemplate {
    const known = builtIn.get(code) ?? builtInTemplate(code)
    builtIn.set(code, known)
    return known
  }

  return {
    pageFor(code, requestId) {
      const values = { status: String(statusOf(code)), code, title: titleOf(code), requestId }
      const all = templates()
      const own = fileNamesFor(code)
        .map((name) => all.get(name))
        .find((template) => template !== undefined)
      return own === undefined
        ? { html: fillTemplate(builtInFor(code), values), policy: BUILT_IN_POLICY }
        : { html: fillTemplate(own, values), policy: null }
    },
  }
}

/** The files that may have the page of a code; the first one that exists is used. */
export function fileNamesFor(code: ErrorCode): readonly string[] {
  return [`${code}.html`, `${statusOf(code)}.html`, FALLBACK]
}
