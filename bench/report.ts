import { readFile, writeFile } from 'node:fs/promises'
import type { Measured, Rounds } from './rounds.ts'
import { formatSpread, spreadOf } from './statistics.ts'
import type { Ratio } from './targets.ts'

const README = new URL('README.md', import.meta.url)
const RESULTS = new URL('results.json', import.meta.url)

const COLUMNS: readonly { readonly head: string; readonly key: keyof Measured; readonly digits: number }[] = [
  { head: 'requests/s', key: 'requestsPerS', digits: 0 },
  { head: 'CPU µs', key: 'cpuUs', digits: 1 },
  { head: 'PostgreSQL µs', key: 'postgresUs', digits: 1 },
  { head: 'p50 ms', key: 'p50Ms', digits: 2 },
  { head: 'p99 ms', key: 'p99Ms', digits: 2 },
  { head: 'p99.9 ms', key: 'p999Ms', digits: 2 },
  { head: 'MiB', key: 'rssMiB', digits: 0 },
]

/** Medians, with the minimum and maximum of all rounds in parentheses. */
export function comparisonTable(rounds: Rounds): string {
  const rows = [...rounds].map(([contender, measured]) => [
    contender.title,
    ...COLUMNS.map(({ key, digits }) => formatSpread(spreadOf(measured.map((each) => each[key])), digits)),
  ])
  return markdownTable(['contender', ...COLUMNS.map(({ head }) => head)], rows)
}

/** The ratios of the medians, with the minimum and maximum of all rounds in parentheses. */
export function ratioTable(ratios: readonly Ratio[]): string {
  return markdownTable(
    ['CPU of', 'to that of', 'ratio', 'target', ''],
    ratios.map(({ of, to, value, rounds, target, verdict }) => [
      of,
      to,
      formatSpread({ ...rounds, median: value }, 2),
      target,
      verdict,
    ]),
  )
}

/** A Markdown table with aligned columns, so that it can be read in a terminal. */
export function markdownTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = head.map((title, i) => Math.max(3, title.length, ...rows.map((row) => row[i]!.length)))
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!))).join(' | ')} |`
  const rule = `|${widths.map((width, i) => `${'-'.repeat(width + 1)}${i === 0 ? '-' : ':'}`).join('|')}|`
  return [line(head), rule, ...rows.map(line)].join('\n')
}

/** Replaces the text between the markers of each part; parts that did not run stay as they are. */
export async function writeReadme(parts: ReadonlyMap<string, string>): Promise<void> {
  let text = await readFile(README, 'utf8')
  for (const [name, content] of parts) {
    const [begin, end] = [`<!-- ${name} -->`, `<!-- /${name} -->`]
    const [from, to] = [text.indexOf(begin), text.indexOf(end)]
    if (from === -1 || to === -1) throw new Error(`README.md has no markers for ${name}`)
    text = `${text.slice(0, from + begin.length)}\n${content}\n${text.slice(to)}`
  }
  await writeFile(README, text)
}

/** Keeps the figures of the parts that did not run. */
export async function writeResults(figures: Readonly<Record<string, unknown>>): Promise<void> {
  const before = await readFile(RESULTS, 'utf8').catch(() => '{}')
  await writeFile(RESULTS, `${JSON.stringify({ ...JSON.parse(before), ...figures }, null, 2)}\n`)
}
