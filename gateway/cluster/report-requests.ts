import type { Worker } from 'node:cluster'
import type { Reports } from '../admin/reports.ts'
import type { Scheduler } from '../core/scheduler.ts'
import { aggregateGrowing, type ProcessMetrics } from '../telemetry/metrics/exposition.ts'
import type { ReportRequest, ReportResponse } from './worker-messages.ts'

/** A worker that is stuck must not hold up a scrape. */
const REPORT_MS = 1000

/** Requests reports from the workers and keeps their latest metrics. */
export interface ReportRequests {
  /** Workers that do not respond in time are left out. */
  requestFromAll<Part extends keyof Reports>(
    workers: readonly Worker[],
    part: Part,
  ): Promise<readonly Reports[Part][]>
  /** Takes in a worker's response. */
  onResponse(worker: Worker, response: ReportResponse): void
  /** The worker has ended: its open requests resolve with null, and its counters are kept. */
  removeWorker(worker: Worker): void
  /** The latest metrics of each worker, those that have ended included. */
  metrics(): Promise<readonly ProcessMetrics[]>
}

export function createReportRequests(scheduler: Scheduler): ReportRequests {
  const waiting = new Map<number, { worker: Worker; done: (report: ReportResponse['report']) => void }>()
  const latest = new Map<number, ProcessMetrics>()
  let retired: Promise<ProcessMetrics> = Promise.resolve([])
  let lastId = 0

  function requestFrom<Part extends keyof Reports>(
    worker: Worker,
    part: Part,
  ): Promise<Reports[Part] | null> {
    const id = ++lastId
    return new Promise((resolve) => {
      const done = (report: ReportResponse['report']) => {
        waiting.delete(id)
        cancel()
        resolve(report as Reports[Part] | null)
      }
      const cancel = scheduler.after(REPORT_MS, () => done(null))
      waiting.set(id, { worker, done })
      worker.send({ request: part, id } satisfies ReportRequest, (error) => error !== null && done(null))
    })
  }

  return {
    async requestFromAll(workers, part) {
      const reports = await Promise.all(workers.map((worker) => requestFrom(worker, part)))
      return reports.filter((report) => report !== null)
    },
    onResponse(worker, { request, id, report }) {
      if (request === 'metrics' && report !== null) latest.set(worker.id, report as ProcessMetrics)
      waiting.get(id)?.done(report)
    },
    removeWorker(worker) {
      for (const request of waiting.values()) if (request.worker === worker) request.done(null)
      const last = latest.get(worker.id)
      latest.delete(worker.id)
      if (last !== undefined) retired = retired.then((before) => aggregateGrowing([before, last]))
    },
    async metrics() {
      const before = await retired
      return [...latest.values(), before]
    },
  }
}
