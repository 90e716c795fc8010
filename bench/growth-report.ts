import type { Plot } from './plot.ts'
import { markdownTable } from './report.ts'

/** One load on the gateway, and what it cost. */
export interface Point {
  /** The rate, the rows or the connections of this point. */
  readonly at: number
  readonly requestsPerS: number
  readonly failed: number
  readonly lookupsPerQuery: number
  readonly queriesPerS: number
  readonly cpuUs: number
  readonly postgresUs: number
  readonly p50Ms: number
  readonly p99Ms: number
}

export function pointTable(what: string, points: readonly Point[]): string {
  return markdownTable(
    [
      what,
      'requests/s',
      'failed',
      'look-ups per query',
      'queries/s',
      'CPU µs',
      'PostgreSQL µs',
      'p50 ms',
      'p99 ms',
    ],
    points.map((each) => [
      each.at.toFixed(0),
      each.requestsPerS.toFixed(0),
      String(each.failed),
      each.lookupsPerQuery.toFixed(1),
      each.queriesPerS.toFixed(0),
      each.cpuUs.toFixed(1),
      each.postgresUs.toFixed(1),
      each.p50Ms.toFixed(2),
      each.p99Ms.toFixed(2),
    ]),
  )
}

/** @returns the plots by the names of their files */
export function plotsOf(
  rates: readonly Point[],
  rows: readonly Point[],
  connections: readonly Point[],
): Record<string, Plot> {
  const pick = (points: readonly Point[], key: keyof Point) =>
    points.map((each) => [each.at, each[key]] as const)
  const x = { label: 'requests/s', log: true }
  const cost = (points: readonly Point[]) => [
    { name: 'gateway', points: pick(points, 'cpuUs') },
    { name: 'PostgreSQL', points: pick(points, 'postgresUs') },
  ]
  const costLabel = { label: 'CPU µs per request' }
  return {
    'growth-batch': {
      title: 'Look-ups per query against load',
      x,
      y: { label: 'look-ups per query' },
      series: [{ name: 'look-ups per query', points: pick(rates, 'lookupsPerQuery') }],
    },
    'growth-queries': {
      title: 'Queries per second against load',
      x,
      y: { label: 'queries/s' },
      series: [{ name: 'queries/s', points: pick(rates, 'queriesPerS') }],
    },
    'growth-cost': { title: 'CPU per request against load', x, y: costLabel, series: cost(rates) },
    'growth-latency': {
      title: 'Latency against offered load (open loop)',
      x,
      y: { label: 'ms', log: true },
      // The last point is the closed loop's.
      series: [
        { name: 'p50', points: pick(rates.slice(0, -1), 'p50Ms') },
        { name: 'p99', points: pick(rates.slice(0, -1), 'p99Ms') },
      ],
    },
    'growth-rows': {
      title: 'CPU per request against the size of the table',
      x: { label: 'rows', log: true },
      y: costLabel,
      series: cost(rows),
    },
    'growth-connections': {
      title: 'CPU per request against connections',
      x: { label: 'connections', log: true },
      y: costLabel,
      series: cost(connections),
    },
  }
}
