import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { ERROR_CODES } from '../errors.ts'
import { fileMark } from '../file-mark.ts'
import { didYouMean, escapeInvisible } from '../message-text.ts'
import { readTextFile } from '../text-file.ts'
import { BEGINNING, type Position } from '../text-position.ts'
import { fileNamesFor, type PageTemplates } from './error-pages.ts'
import { type PageTemplate, parseTemplate } from './page-template.ts'

/** The content of each file by its name, such as `503.html`. */
export type PageTexts = Readonly<Record<string, string>>

export type LoadedPages =
  | {
      readonly ok: true
      readonly templates: PageTemplates
      /** So that the pages can be used again even if the files have changed meanwhile. */
      readonly texts: PageTexts
      /** One line each. */
      readonly warnings: readonly string[]
    }
  /** All problems, one line each: `FILE:LINE:COLUMN: : problem`, as those of the routing file. */
  | { readonly ok: false; readonly problems: readonly string[] }

/** Large enough for images within a page. */
const MAX_BYTES = 1024 * 1024

/** Every name that a page may have. */
const NAMES: ReadonlySet<string> = new Set(ERROR_CODES.flatMap(fileNamesFor))

const EXPECTED_NAMES = 'CODE.html, STATUS.html or error.html'

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: 'no such folder',
  ENOTDIR: 'no folder',
  EACCES: 'a folder that may not be read',
  EPERM: 'a folder that may not be read',
}

export interface PagesOptions {
  /** The folder's name in problems; as it is by default. */
  readonly shown?: string
  /** True where a warning is a problem like the others. */
  readonly strict?: boolean
}

/** Reads and checks all pages of ERROR_PAGES_DIR. Never rejects. */
export async function loadErrorPages(folder: string, options: PagesOptions = {}): Promise<LoadedPages> {
  const { shown = folder, strict = false } = options
  const listed = await readdir(folder).catch((error: NodeJS.ErrnoException) => error)
  if (listed instanceof Error) {
    const found = `${REASONS[String(listed.code)] ?? 'a folder that cannot be read'} (${listed.code})`
    const message = describe(found, 'a readable folder (ERROR_PAGES_DIR)')
    return { ok: false, problems: [atPlace(shown, message)] }
  }
  const names = listed.filter((name) => NAMES.has(name)).toSorted()
  const read = await Promise.all(names.map((name) => loadPage(join(folder, name), join(shown, name))))
  const unusual = unusualNames(shown, listed, names)
  const problems = [...read.flatMap((page) => (page.ok ? [] : page.problems)), ...(strict ? unusual : [])]
  if (problems.length > 0) return { ok: false, problems }
  const pages = names.map((name, i) => [name, read[i] as LoadedPage] as const)
  return {
    ok: true,
    templates: new Map(pages.map(([name, { template }]) => [name, template])),
    texts: Object.fromEntries(pages.map(([name, { text }]) => [name, text])),
    warnings: unusualNames(shown, listed, names, 'warning: '),
  }
}

/** The same from texts that were read before; those that are not usable are left out. */
export function templatesOf(texts: PageTexts): PageTemplates {
  const templates = new Map<string, PageTemplate>()
  for (const [name, text] of Object.entries(texts)) {
    const parsed = parseTemplate(text)
    if (parsed.ok) templates.set(name, parsed.template)
  }
  return templates
}

/** A text that differs after a change of any page. */
export async function pagesMark(folder: string): Promise<string> {
  const listed = await readdir(folder).catch(() => null)
  if (listed === null) return fileMark(folder)
  const names = listed.filter((name) => NAMES.has(name)).toSorted()
  const marks = await Promise.all(names.map(async (name) => `${name} ${await fileMark(join(folder, name))}`))
  return marks.join('\n')
}

interface LoadedPage {
  readonly ok: true
  readonly text: string
  readonly template: PageTemplate
}

async function loadPage(
  path: string,
  shown: string,
): Promise<LoadedPage | { readonly ok: false; readonly problems: readonly string[] }> {
  const read = await readTextFile(path, { regular: true, maxBytes: MAX_BYTES })
  if (!read.ok) {
    const message = describe(read.found, 'a readable file of HTML in UTF-8')
    return { ok: false, problems: [atPlace(shown, message, read.position)] }
  }
  const { text } = read
  if (text.trim() === '') return { ok: false, problems: [atPlace(shown, describe('an empty file', 'HTML'))] }
  const parsed = parseTemplate(text)
  if (parsed.ok) return { ok: true, text, template: parsed.template }
  const problems = parsed.problems.map(({ found, expected, position }) =>
    atPlace(shown, describe(found, expected), position),
  )
  return { ok: false, problems }
}

/** What a person may have meant to be a page and is none, one line each. */
function unusualNames(
  shown: string,
  listed: readonly string[],
  names: readonly string[],
  prefix = '',
): string[] {
  if (names.length === 0) return [atPlace(shown, `${prefix}${describe('no page', EXPECTED_NAMES)}`)]
  return listed
    .filter((name) => /\.html?$/i.test(name) && !NAMES.has(name))
    .toSorted()
    .map((name) => {
      const expected = `${EXPECTED_NAMES}${didYouMean(name, [...NAMES])}`
      return atPlace(
        join(shown, escapeInvisible(name)),
        `${prefix}${describe('a name that no error has', expected)}`,
      )
    })
}

function describe(found: string, expected: string): string {
  return `found ${found}, expected ${expected}`
}

/** As the problems of the routing file are written; these have no JSON pointer. */
function atPlace(file: string, message: string, { line, column }: Position = BEGINNING): string {
  return `${file}:${line}:${column}: : ${message}`
}
