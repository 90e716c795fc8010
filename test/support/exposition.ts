/** What Prometheus reads, read as strictly as its formats are written. */

export interface Family {
  readonly name: string
  readonly type: string
  readonly help: string
  readonly unit: string | null
  readonly samples: readonly Sample[]
}

export interface Sample {
  readonly name: string
  readonly labels: Readonly<Record<string, string>>
  readonly value: number
  readonly exemplar: Exemplar | null
}

export interface Exemplar {
  readonly labels: Readonly<Record<string, string>>
  readonly value: number
  readonly timestamp: number
}

export interface Exposed {
  readonly families: ReadonlyMap<string, Family>
  /** The value of one series, by its labels in any order; null where it is not there. */
  value(name: string, labels?: Readonly<Record<string, string>>): number | null
  /** All samples of this name. */
  samples(name: string): readonly Sample[]
}

const NAME = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/
const LABEL = /^([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"(,?)/
const NUMBER = /^(?:[+-]?\d+(?:\.\d+)?(?:e[+-]?\d+)?|[+-]Inf|NaN)$/
const SUFFIXES: Readonly<Record<string, readonly string[]>> = {
  histogram: ['_bucket', '_sum', '_count'],
  summary: ['', '_sum', '_count'],
  gauge: [''],
}

/** @throws with the line, where it is not the text format 0.0.4 */
export function parseText(body: string): Exposed {
  if (!body.endsWith('\n')) throw new Error('the last line has no end')
  return parse(body.slice(0, -1).split('\n'), { ...SUFFIXES, counter: [''] }, false)
}

/** @throws with the line, where it is not OpenMetrics 1.0 */
export function parseOpenMetrics(body: string): Exposed {
  if (!body.endsWith('\n# EOF\n')) throw new Error('it does not end with # EOF')
  const lines = body.slice(0, -'\n# EOF\n'.length).split('\n')
  return parse(lines, { ...SUFFIXES, counter: ['_total'] }, true)
}

type Suffixes = Readonly<Record<string, readonly string[]>>
type Growing = { -readonly [Key in keyof Family]: Family[Key] } & { samples: Sample[] }

function parse(lines: readonly string[], suffixes: Suffixes, open: boolean): Exposed {
  const families = new Map<string, Growing>()
  const series = new Set<string>()
  let current = null as Growing | null
  for (const [n, line] of lines.entries()) {
    const fail = (why: string): never => {
      throw new Error(`line ${n + 1}: ${why}: ${line}`)
    }
    if (line === '') {
      if (open) fail('an empty line')
      continue
    }
    const [, keyword, name = '', rest = ''] = /^# (HELP|TYPE|UNIT) (\S+) (.*)$/s.exec(line) ?? []
    if (keyword === undefined) {
      if (line.startsWith('#')) fail('a comment')
      if (current === null) return fail('a sample without a family')
      const sample = sampleOf(line, open, fail)
      const { type, name: family } = current
      const fits = suffixes[type]?.some((suffix) => sample.name === family + suffix)
      if (!fits) fail(`no sample of the ${type} ${family}`)
      const key = keyOf(sample.name, sample.labels)
      if (series.has(key)) fail('a series twice')
      series.add(key)
      current.samples.push(sample)
      continue
    }
    if (!NAME.test(name)) fail('no name')
    if (current?.name !== name) {
      if (families.has(name)) fail('a family in two pieces')
      current = { name, type: '', help: '', unit: null, samples: [] }
      families.set(name, current)
    }
    if (current.samples.length > 0) fail('it comes after samples')
    const field = keyword.toLowerCase() as 'help' | 'type' | 'unit'
    if ((current[field] ?? '') !== '') fail('it comes twice')
    if (keyword === 'TYPE' && suffixes[rest] === undefined) fail('no type')
    if (keyword === 'UNIT' && (!open || !name.endsWith(`_${rest}`))) fail('no unit of this name')
    if (keyword === 'HELP' && /\\(?![\\n"])/.test(rest)) fail('a bad escape')
    if (keyword === 'HELP' && open && /(?<!\\)"/.test(rest)) fail('a quote without escape')
    current[field] = rest
  }
  for (const family of families.values()) checkFamily(family)
  return exposed(families)
}

function sampleOf(line: string, open: boolean, fail: (why: string) => never): Sample {
  const [, name = '', at = ''] = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(.*)$/s.exec(line) ?? fail('no sample')
  const own = labelsOf(at, fail)
  const [value = '', ...more] = own.rest.replace(/^ /, '').split(' ')
  if (!NUMBER.test(value)) fail('no number')
  if (more.length === 0) return { name, labels: own.labels, value: numberOf(value), exemplar: null }
  if (!open || more[0] !== '#') fail('something behind the value')
  if (!/_(bucket|total)$/.test(name)) fail('an exemplar of what can have none')
  const other = labelsOf(more.slice(1).join(' '), fail)
  const [exemplarValue = '', timestamp = '', ...none] = other.rest.replace(/^ /, '').split(' ')
  if (!NUMBER.test(exemplarValue) || !/^\d+(\.\d+)?$/.test(timestamp) || none.length > 0) fail('no exemplar')
  if (Object.entries(other.labels).flat().join('').length > 128)
    fail('an exemplar of more than 128 characters')
  if (name.endsWith('_bucket') && numberOf(exemplarValue) > numberOf(own.labels.le ?? '')) {
    fail('an exemplar beyond its bucket')
  }
  const exemplar = { labels: other.labels, value: Number(exemplarValue), timestamp: Number(timestamp) }
  return { name, labels: own.labels, value: numberOf(value), exemplar }
}

function labelsOf(text: string, fail: (why: string) => never) {
  const labels: Record<string, string> = {}
  if (!text.startsWith('{')) return { labels, rest: text }
  let rest = text.slice(1)
  for (let more = rest[0] !== '}'; more; ) {
    const [all = '', label = '', value = '', comma] = LABEL.exec(rest) ?? fail('no label')
    if (label in labels) fail('a label twice')
    labels[label] = value.replace(/\\(.)/g, (_all, char) => (char === 'n' ? '\n' : char))
    rest = rest.slice(all.length)
    more = comma === ','
  }
  if (!rest.startsWith('} ')) fail('labels without end')
  return { labels, rest: rest.slice(1) }
}

function numberOf(text: string): number {
  return Number(text.replace('Inf', 'Infinity'))
}

function keyOf(name: string, labels: Readonly<Record<string, string>>): string {
  return name + JSON.stringify(Object.entries(labels).sort())
}

function checkFamily({ name, type, help, samples }: Family): void {
  if (type === '' || help === '') throw new Error(`${name} has no type or no help`)
  if (type === 'counter') {
    for (const { value } of samples) if (!(value >= 0)) throw new Error(`${name} is below nothing`)
  }
  if (type === 'histogram') checkHistogram(name, samples)
}

/** Bounds ascend to +Inf, counts never fall, and the count is that of the last bucket; each group in one piece. */
function checkHistogram(name: string, samples: readonly Sample[]): void {
  const groups = new Map<string, Sample[]>()
  let last = ''
  for (const sample of samples) {
    const { le: _bound, ...labels } = sample.labels
    const key = keyOf('', labels)
    if (key !== last && groups.has(key)) throw new Error(`${name} has a group in two pieces: ${key}`)
    last = key
    groups.set(key, [...(groups.get(key) ?? []), sample])
  }
  for (const [key, group] of groups) {
    const of = (suffix: string) => group.filter((sample) => sample.name === name + suffix)
    const bounds = of('_bucket').map(({ labels }) => numberOf(labels.le ?? 'none'))
    const counts = of('_bucket').map(({ value }) => value)
    const ascends = bounds.every((bound, i) => i === 0 || bound > bounds[i - 1]!)
    const grows = counts.every((count, i) => i === 0 || count >= counts[i - 1]!)
    const whole = bounds.at(-1) === Number.POSITIVE_INFINITY && of('_count')[0]?.value === counts.at(-1)
    if (!ascends || !grows || !whole || of('_sum').length !== 1)
      throw new Error(`${name}${key} is no histogram`)
  }
}

function exposed(families: ReadonlyMap<string, Family>): Exposed {
  const samples = [...families.values()].flatMap((family) => family.samples)
  return {
    families,
    value: (name, labels = {}) =>
      samples.find((each) => keyOf(each.name, each.labels) === keyOf(name, labels))?.value ?? null,
    samples: (name) => samples.filter((each) => each.name === name),
  }
}
