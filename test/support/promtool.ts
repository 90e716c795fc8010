import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'

/** Debian's package `prometheus` has it. */
const PROMTOOL = '/usr/bin/promtool'

export function promtoolIsInstalled(): boolean {
  return existsSync(PROMTOOL)
}

/** What `promtool check metrics` says of an exposition in the text format. */
export function checkMetrics(text: string): { readonly status: number | null; readonly says: string[] } {
  const { status, stdout, stderr } = spawnSync(PROMTOOL, ['check', 'metrics'], {
    input: text,
    encoding: 'utf8',
  })
  return { status, says: `${stdout}${stderr}`.split('\n').filter((line) => line !== '') }
}
