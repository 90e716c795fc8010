import type { Worker } from 'node:cluster'
import type { Reports } from '../admin/reports.ts'
import type { Scheduler } from '../core/scheduler.ts'
import { aggregateGrowing, type ProcessMetrics } from '../telemetry/metrics/exposition.ts'
import type { Ask, Told } from './worker-messages.ts'

/** A worker that is stuck must not hold up a scrape. */
const REPORT_MS = 1000

/** The primary's questions to its workers, and what is kept of their answers. */
export interface Questions {
  /** Those that do not answer in time are left out. */
  askAll<Part extends keyof Reports>(
    workers: readonly Worker[],
    part: Part,
  ): Promise<readonly Reports[Part][]>
  /** A worker has answered. */
  answer(worker: Worker, told: Told): void
  /** It has died. Nobody waits for it, and what it has counted stays. */
  forget(worker: Worker): void
  /** The latest metrics of each, also of those that have died. */
  metrics(): Promise<readonly ProcessMetrics[]>
}

export function createQuestions(scheduler: Scheduler): Questions {
  const waiting = new Map<number, { worker: Worker; done: (report: Told['report']) => void }>()
  const latest = new Map<number, ProcessMetrics>()
  let retired: Promise<ProcessMetrics> = Promise.resolve([])
  let asked = 0

  function askOne<Part extends keyof Reports>(worker: Worker, part: Part): Promise<Reports[Part] | null> {
    asked++
    const id = asked
    return new Promise((resolve) => {
      const done = (report: Told['report']) => {
        waiting.delete(id)
        cancel()
        resolve(report as Reports[Part] | null)
      }
      const cancel = scheduler.after(REPORT_MS, () => done(null))
      waiting.set(id, { worker, done })
      worker.send({ ask: part, id } satisfies Ask, (error) => error !== null && done(null))
    })
  }

  return {
    async askAll(workers, part) {
      const reports = await Promise.all(workers.map((worker) => askOne(worker, part)))
      return reports.filter((report) => report !== null)
    },
    answer(worker, { ask, id, report }) {
      if (ask === 'metrics' && report !== null) latest.set(worker.id, report as ProcessMetrics)
      waiting.get(id)?.done(report)
    },
    forget(worker) {
      for (const question of waiting.values()) if (question.worker === worker) question.done(null)
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
