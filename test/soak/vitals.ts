import { readdirSync, readFileSync } from 'node:fs'
import { ask } from '../support/http-client.ts'
import type { World } from './world.ts'

/** What a process holds at one moment. */
export interface Vitals {
  /** Minutes since the first one. */
  readonly minute: number
  readonly rssMiB: number
  readonly heapMiB: number
  readonly descriptors: number
  /** Open handles by Node's count: sockets, servers, files. */
  readonly handles: number
}

/** Of the last instance, which is never ended. @param since by `performance.now()` */
export async function readVitals({ fleet }: World, since: number): Promise<Vitals> {
  const slot = fleet.slots.length - 1
  const gateway = fleet.running.get(slot)
  if (gateway === undefined) throw new Error('the last instance does not run')
  const { body } = await ask({ url: `http://127.0.0.1:${fleet.slots[slot]!.adminPort}/metrics` })
  const kib = /^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${gateway.pid}/status`, 'utf8'))?.[1]
  return {
    minute: Math.round((performance.now() - since) / 6000) / 10,
    rssMiB: Math.round(Number(kib) / 1024),
    heapMiB: Math.round(sumOf(body, 'nodejs_heap_size_used_bytes') / 1024 / 1024),
    descriptors: readdirSync(`/proc/${gateway.pid}/fd`).length,
    handles: sumOf(body, 'nodejs_active_handles_total'),
  }
}

/** Node warns where one emitter has more listeners than it should need. */
export function listenerWarnings({ fleet }: World): number {
  const outputs = [...fleet.running.values()].map((gateway) => gateway.output())
  return outputs.filter((output) => output.includes('MaxListenersExceededWarning')).length
}

const HELD = ['rssMiB', 'heapMiB', 'descriptors', 'handles'] as const

/** How much more of each the last third of a run may hold than the second: load and faults come and go. */
const ALLOWED = { rssMiB: 24, heapMiB: 16, descriptors: 24, handles: 24 }

/** @returns what has grown, in words; empty where nothing has */
export function growth(all: readonly Vitals[]): string[] {
  const third = Math.floor(all.length / 3)
  const median = (of: readonly Vitals[], name: (typeof HELD)[number]) => {
    const values = of.map((each) => each[name]).sort((a, b) => a - b)
    return values[Math.floor(values.length / 2)] ?? 0
  }
  return HELD.flatMap((name) => {
    const before = median(all.slice(third, 2 * third), name)
    const after = median(all.slice(2 * third), name)
    return after - before > ALLOWED[name] ? [`${name} grew from ${before} to ${after}`] : []
  })
}

/** As a table in Markdown. */
export function vitalsTable(all: readonly Vitals[]): string {
  const rows = all.map((each) => `| ${each.minute} | ${HELD.map((name) => each[name]).join(' | ')} |`)
  return [
    '| minute | resident MiB | heap MiB | descriptors | handles |',
    '|---:|---:|---:|---:|---:|',
    ...rows,
  ].join('\n')
}

function sumOf(metrics: string, series: string): number {
  const line = metrics.split('\n').find((each) => each.startsWith(`${series} `))
  return Number(line?.slice(series.length + 1) ?? 0)
}
