import type { Environment, Output } from './environment.ts'

/** Adds bold and colour to text if the output is a terminal that shows them. */
export interface Paint {
  bold(text: string): string
  dim(text: string): string
  good(text: string): string
  bad(text: string): string
  warning(text: string): string
}

/** No escape sequences into pipes and files, nor where NO_COLOR (no-color.org) is set, or the terminal is dumb. */
export function paintFor(output: Output, env: Environment['env']): Paint {
  const shows = output.isTTY === true && !env.NO_COLOR && env.TERM !== 'dumb'
  const paint = (code: number) => (text: string) => (shows ? `\x1b[${code}m${text}\x1b[0m` : text)
  return { bold: paint(1), dim: paint(2), good: paint(32), bad: paint(31), warning: paint(33) }
}
