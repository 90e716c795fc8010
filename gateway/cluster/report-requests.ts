import type { Worker } from 'node:cluster'
import type { ExplainAnswer, ExplainQuestion } from '../admin/explain-question.ts'
import type { Reports } from '../admin/reports.ts'
import type { Scheduler } from '../core/scheduler.ts'
import { aggregateGrowing, type ProcessMetrics } from '../telemetry/metrics/exposition.ts'
import type { ExplainRequest, ReportRequest, ReportResponse } from './worker-messages.ts'

/** A worker that is stuck must not hold up a scrape. */
const REPORT_MS = 1000

/** Requests reports from the workers and keeps their latest metrics. */
export interface ReportRequests {
  /** Workers that do not respond in time are left out. */
  requestFromAll<Part extends keyof Reports>(
    workers: readonly Worker[],
    part: Part,
  ): Promise<readonly Reports[Part][]>
  /** Asks one worker after the other, each for so long. @returns null where none answers */
  requestExplanation(
    workers: readonly Worker[],
    question: ExplainQuestion,
    timeoutMs: number,
  ): Promise<ExplainAnswer | null>
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

  /** @returns null where the worker does not respond in time */
  function send(
    worker: Worker,
    message: Omit<ReportRequest, 'id'> | Omit<ExplainRequest, 'id'>,
    timeoutMs: number,
  ): Promise<ReportResponse['report']> {
    const id = ++lastId
    return new Promise((resolve) => {
      const done = (report: ReportResponse['report']) => {
        waiting.delete(id)
        cancel()
        resolve(report)
      }
      const cancel = scheduler.after(timeoutMs, () => done(null))
      waiting.set(id, { worker, done })
      worker.send({ ...message, id }, (error) => error !== null && done(null))
    })
  }

  return {
    async requestFromAll(workers, part) {
      const reports = await Promise.all(workers.map((worker) => send(worker, { request: part }, REPORT_MS)))
      return reports.filter((report) => report !== null) as Reports[typeof part][]
    },
    async requestExplanation(workers, question, timeoutMs) {
      for (const worker of workers) {
        const answer = await send(worker, { request: 'explain', question }, timeoutMs)
        if (answer !== null) return answer as ExplainAnswer
      }
      return null
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
