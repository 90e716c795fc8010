import { countKind, KINDS } from './decisions.js'
import { followTable } from './elements.js'
import { formatMinute, formatMs, formatNumber, formatShare, NONE } from './format.js'

const MINUTE_MS = 60_000

/** One row a minute, the latest first: means, and for latency the worst. */
export function showMinutes(table, samples) {
  const minutes = Map.groupBy(samples, ({ at }) => Math.floor(at / MINUTE_MS))
  const rows = [...minutes].reverse().map(([minute, of]) => {
    const known = of.filter(({ requestsPerSecond }) => requestsPerSecond !== null)
    const mean = (value) => known.reduce((sum, sample) => sum + value(sample), 0) / (known.length || 1)
    const worst = (name) => known.reduce((most, sample) => Math.max(most, sample[name] ?? -1), -1)
    const requests = mean((sample) => sample.requestsPerSecond)
    const errors = mean((sample) => (sample.errorShare ?? 0) * sample.requestsPerSecond)
    const counted = (kind) => known.reduce((sum, { decisions }) => sum + countKind(decisions, kind), 0)
    const ms = (name) => (worst(name) < 0 ? NONE : formatMs(worst(name)).join(' '))
    return {
      key: String(minute),
      cells: [
        formatMinute(minute * MINUTE_MS),
        formatNumber(requests),
        formatShare(requests > 0 ? errors / requests : null).join(' '),
        ms('p50Ms'),
        ms('p99Ms'),
        ...KINDS.map((kind) => formatNumber(counted(kind))),
        formatNumber(mean((sample) => sample.inFlight)),
      ],
    }
  })
  const titles = ['requests/s', '5xx', 'worst p50', 'worst p99']
  const columns = [
    { title: 'minute', kind: 'name' },
    ...[...titles, ...KINDS, 'in flight'].map((title) => ({
      title,
      kind: 'number',
    })),
  ]
  followTable(table, columns, rows, 'Nothing yet.')
}
