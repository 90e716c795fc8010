import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { parse, parseAllDocuments } from 'yaml'

/** The full name of a file of the repository. */
export function inRepository(path: string): string {
  return fileURLToPath(new URL(`../../${path}`, import.meta.url))
}

export function readText(path: string): string {
  return readFileSync(inRepository(path), 'utf8')
}

export function readYaml<T>(path: string): T {
  return parse(readText(path), { strict: true, uniqueKeys: true }) as T
}

/** All documents of a file in which `---` separates several. */
export function readYamls<T>(path: string): T[] {
  return parseAllDocuments(readText(path), { strict: true, uniqueKeys: true }).map((document) => {
    const [error] = document.errors
    if (error !== undefined) throw error
    return document.toJS() as T
  })
}

/** The text of a section of docs/operating.md, by its title. */
export function manualSection(title: string): string {
  const [, ...sections] = readText('docs/operating.md').split(/^#{2,3} /m)
  return sections.find((section) => section.startsWith(`${title}\n`)) ?? ''
}

/** Titles of the sections of a Markdown file that are `level` deep. */
export function headings(path: string, level: number): string[] {
  const mark = `${'#'.repeat(level)} `
  return readText(path)
    .split('\n')
    .filter((line) => line.startsWith(mark))
    .map((line) => line.slice(mark.length).trim())
}
