import type { Exemplar, RegistryMetricValues } from './series.ts'

/** The text format 0.0.4, or OpenMetrics 1.0, which can have exemplars. */
export type ExpositionFormat = 'text' | 'openmetrics'

export const CONTENT_TYPES: Readonly<Record<ExpositionFormat, string>> = {
  text: 'text/plain; version=0.0.4; charset=utf-8',
  openmetrics: 'application/openmetrics-text; version=1.0.0; charset=utf-8',
}

const UNITS = ['seconds', 'bytes', 'ratio']

/** OpenMetrics where the scraper accepts it by name and does not prefer the text format (RFC 9110, section 12.5.1). */
export function formatFor(accept: string | undefined): ExpositionFormat {
  let text = 0
  let openmetrics = 0
  for (const range of (accept ?? '').toLowerCase().split(',')) {
    const [type = '', ...parameters] = range.split(';').map((part) => part.trim())
    const q = parameters.find((parameter) => parameter.startsWith('q='))
    const weight = q === undefined ? 1 : Number(q.slice(2)) || 0
    if (type === 'application/openmetrics-text') openmetrics = Math.max(openmetrics, weight)
    if (type === 'text/plain') text = Math.max(text, weight)
  }
  return openmetrics > 0 && openmetrics >= text ? 'openmetrics' : 'text'
}

/**
 * Writes either format. prom-client's own writer is not used: it writes `Nan` for NaN and, in OpenMetrics, a second `_total`
 * after a counter's name that ends with it, bounds of buckets as integers, and other names than the text format.
 */
export function renderExposition(
  families: readonly RegistryMetricValues[],
  format: ExpositionFormat,
): string {
  const open = format === 'openmetrics'
  return families.map((family) => renderFamily(family, open)).join('') + (open ? '# EOF\n' : '')
}

function renderFamily({ name, help, type, values }: RegistryMetricValues, open: boolean): string {
  const family = open && type === 'counter' ? name.replace(/_total$/, '') : name
  const unit = open ? UNITS.find((each) => family.endsWith(`_${each}`)) : undefined
  const sample = open && type === 'counter' ? `${family}_total` : family
  let out = `# HELP ${family} ${escaped(help, open)}\n# TYPE ${family} ${type}\n`
  if (unit !== undefined) out += `# UNIT ${family} ${unit}\n`
  for (const { metricName = sample, labels, value, exemplar } of values) {
    const traced = open && exemplar ? renderExemplar(exemplar) : ''
    out += `${metricName}${renderLabels(labels, open)} ${numeral(value)}${traced}\n`
  }
  return out
}

function renderLabels(labels: Readonly<Record<string, string | number>>, open: boolean): string {
  let out = ''
  for (const name in labels) {
    out += `${out === '' ? '{' : ','}${name}="${escaped(labelText(labels[name]!, open), true)}"`
  }
  return out === '' ? '' : `${out}}`
}

/** Only bounds of buckets are numbers. OpenMetrics needs a decimal point in whole ones. */
function labelText(value: string | number, open: boolean): string {
  return open && Number.isInteger(value) ? `${value}.0` : String(value)
}

function renderExemplar({ labelSet, value, timestamp }: Exemplar): string {
  return ` # ${renderLabels(labelSet, true)} ${numeral(value)} ${timestamp}`
}

function numeral(value: number): string {
  if (value === Number.POSITIVE_INFINITY) return '+Inf'
  if (value === Number.NEGATIVE_INFINITY) return '-Inf'
  return String(value)
}

function escaped(text: string, quotes: boolean): string {
  if (!/[\\"\n]/.test(text)) return text
  const plain = text.replaceAll('\\', '\\\\').replaceAll('\n', '\\n')
  return quotes ? plain.replaceAll('"', '\\"') : plain
}
