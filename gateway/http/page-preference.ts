import type { RequestHead } from './request-head.ts'

/**
 * True where the answer is shown to a person. Browsers tell by Fetch Metadata that they navigate (`Sec-Fetch-Mode`); of
 * clients that do not send it, those whose `Accept` prefers HTML to JSON.
 */
export function wantsPage({ headers }: Pick<RequestHead, 'headers'>): boolean {
  const mode = headers['sec-fetch-mode']
  if (mode !== undefined) return mode === 'navigate'
  const { accept } = headers
  return accept !== undefined && accept.length <= LONGEST_ACCEPT && prefersHtml(accept)
}

/**
 * Browsers send some 150 characters. A head full of ranges took 6 ms to compare, for a refusal that costs hundredths of
 * that, and anybody may send one.
 */
const LONGEST_ACCEPT = 1024

/** A media range of `Accept` (RFC 9110, section 12.5.1) that matches a type. */
interface Range {
  readonly quality: number
  /** 0 where it takes any type, 1 where any `text`, 2 where it names the type. */
  readonly precision: number
  /** Its place in the field. */
  readonly place: number
}

const HTML = ['text/html']
const JSON_TYPES = ['application/problem+json', 'application/json']

/**
 * Of equal qualities the type that is named more exactly is preferred, then the one that is named first. A client that
 * takes anything prefers neither, and gets JSON.
 */
function prefersHtml(accept: string): boolean {
  const ranges = accept.toLowerCase().split(',')
  const html = bestRange(ranges, HTML)
  const json = bestRange(ranges, JSON_TYPES)
  if (html.quality !== json.quality) return html.quality > json.quality
  if (html.quality === 0) return false
  if (html.precision !== json.precision) return html.precision > json.precision
  return html.place < json.place
}

const NO_RANGE: Range = { quality: 0, precision: -1, place: 0 }

/** The best that the field says of one of these types. */
function bestRange(ranges: readonly string[], types: readonly string[]): Range {
  const found = types.map((type) => rangeOf(ranges, type))
  return found.reduce((best, range) => (range.quality > best.quality ? range : best), NO_RANGE)
}

/** The most precise range that matches the type decides on it. */
function rangeOf(ranges: readonly string[], type: string): Range {
  let best = NO_RANGE
  for (const [place, text] of ranges.entries()) {
    const [range = '', ...parameters] = text.split(';').map((part) => part.trim())
    const precision = ['*/*', `${type.split('/', 1)}/*`, type].indexOf(range)
    if (precision > best.precision) best = { quality: qualityOf(parameters), precision, place }
  }
  return best
}

/** A weight that cannot be read counts as none. */
function qualityOf(parameters: readonly string[]): number {
  const weight = parameters.find((parameter) => /^q\s*=/.test(parameter))
  if (weight === undefined) return 1
  const value = weight.slice(weight.indexOf('=') + 1).trim()
  return /^(?:0(?:\.\d{0,3})?|1(?:\.0{0,3})?)$/.test(value) ? Number(value) : 1
}
