import cluster, { type Worker } from 'node:cluster'
import type { ExplainAnswer, ExplainQuestion } from '../admin/explain-question.ts'
import type { Reports } from '../admin/reports.ts'
import type { Log } from '../core/log.ts'
import type { Scheduler } from '../core/scheduler.ts'
import { UnusableError } from '../core/unusable-error.ts'
import type { Ports } from '../server/ports.ts'
import type { TokenStoreLog } from '../telemetry/logging/token-store-log.ts'
import type { ProcessMetrics } from '../telemetry/metrics/exposition.ts'
import { watchHandovers } from './handovers.ts'
import { createReportRequests } from './report-requests.ts'
import type { DrainRequest, InForce, InForcePart, ReportResponse, WorkerMessage } from './worker-messages.ts'

/** A worker cannot start because of the settings or the machine. */
export class WorkerStartError extends UnusableError {
  override readonly name = 'WorkerStartError'
}

export interface WorkersParts {
  readonly count: number
  /** Settings beside those of the primary. */
  readonly env: Readonly<Record<string, string>>
  readonly scheduler: Scheduler
  readonly storeLog: Pick<TokenStoreLog, 'record' | 'forget'>
  readonly log: Log
}

/** The processes that serve, as their primary sees them. */
export interface Workers {
  /** Resolves when all listen, with their port. Rejects where one ends before that (WorkerStartError if it reported why). */
  readonly listening: Promise<Ports>
  /** Collects one part of the workers' reports; a worker that does not respond in time is left out. */
  collect<Part extends keyof Reports>(part: Part): Promise<readonly Reports[Part][]>
  /**
   * The metrics of all, to be summed. A worker that is stuck has a part in it with its latest ones, and one that
   * has died with what it had counted: a sum that fell would look like a restart of everything.
   */
  metrics(): Promise<readonly ProcessMetrics[]>
  /** Any of them answers, from its own state. @returns null where none answers, each within the time */
  explain(question: ExplainQuestion, timeoutMs: number): Promise<ExplainAnswer | null>
  signal(name: NodeJS.Signals): void
  /** Asks all workers to drain and end. @returns the greatest exit code */
  drain(): Promise<number>
  /** Ends all workers at once. */
  kill(): void
}

interface Death {
  readonly pid: number | undefined
  readonly listened: boolean
  /** Exit code or signal. */
  readonly how: string | number
  /** Why it could not start, if it reported a reason. */
  readonly reasons: readonly string[] | null
}

/** The wait before a dead worker is replaced; it doubles with each death in a row, up to RESPAWN_MAX_MS. */
const RESPAWN_MS = 200
const RESPAWN_MAX_MS = 10_000

/**
 * Starts so many processes that share the listening port: the primary accepts and hands connections round. A
 * worker that dies is replaced; connections that were waiting go to the others.
 */
export function startWorkers({ count, env, scheduler, storeLog, log }: WorkersParts): Workers {
  const listening = Promise.withResolvers<Ports>()
  const reportRequests = createReportRequests(scheduler)
  const exits = new Map<number, Promise<number>>()
  let draining = false
  let started = false
  let ready = 0
  let deathsInARow = 0

  function fork(): void {
    let worker: Worker
    try {
      worker = cluster.fork(env)
    } catch (error) {
      replace({ pid: undefined, listened: false, how: codeOf(error), reasons: null })
      return
    }
    watchHandovers(worker.process, () => connectedWorkers()[0]?.process ?? null)
    let listens = false
    let reasons: readonly string[] | null = null
    worker.on('message', (message: Partial<ReportResponse> & WorkerMessage) => {
      if (message.needs !== undefined) void sendInForce(worker, message.needs)
      if (message.tokenStore !== undefined) storeLog.record(worker.id, message.tokenStore)
      if (message.cannotStart !== undefined) reasons = message.cannotStart
      if (message.listening !== undefined) {
        listens = true
        ready++
        deathsInARow = 0
        if (ready === count) {
          started = true
          listening.resolve(message.listening)
        }
        // The first request may have come before the worker could receive it.
        if (draining) requestDrain(worker)
      }
      if (message.id !== undefined) reportRequests.onResponse(worker, message as ReportResponse)
    })
    const exit = Promise.withResolvers<number>()
    exits.set(worker.id, exit.promise)
    function end(code: number, how: string | number): void {
      if (!exits.delete(worker.id)) return
      reportRequests.removeWorker(worker)
      storeLog.forget(worker.id)
      exit.resolve(code)
      replace({ pid: worker.process.pid, listened: listens, how, reasons })
    }
    worker.once('exit', (code, signal) => end(signal === null ? code : 1, signal ?? code))
    // A worker that could not be started has no exit event; a message that was not delivered needs no action.
    worker.on('error', (error) => {
      if (worker.process.pid === undefined) end(1, codeOf(error))
    })
  }

  async function sendInForce(worker: Worker, needed: InForcePart): Promise<void> {
    const others = connectedWorkers().filter((other) => other !== worker)
    const reports = await reportRequests.requestFromAll(others, needed)
    // Others may not have read the newest file yet.
    const [newest = null] = reports
      .filter((report) => report !== null)
      .toSorted((a, b) => b.loadedAt - a.loadedAt)
    if (worker.isConnected()) worker.send({ needed, inForce: newest } satisfies InForce, () => {})
  }

  function replace({ pid, listened, how, reasons }: Death): void {
    if (draining) return
    if (!listened && !started) {
      draining = true
      listening.reject(
        reasons === null
          ? new Error(`a worker ended with ${how} before it listened`)
          : new WorkerStartError(reasons),
      )
      return
    }
    if (listened) ready--
    log.error(
      reasons === null ? { pid, how } : { pid, how, reasons },
      'a worker has died; another one takes its place',
    )
    scheduler.after(Math.min(RESPAWN_MS * 2 ** deathsInARow, RESPAWN_MAX_MS), () => {
      if (!draining) fork()
    })
    deathsInARow++
  }

  for (let i = 0; i < count; i++) fork()

  return {
    listening: listening.promise,
    collect: (part) => reportRequests.requestFromAll(connectedWorkers(), part),
    async metrics() {
      await reportRequests.requestFromAll(connectedWorkers(), 'metrics')
      return reportRequests.metrics()
    },
    explain: (question, timeoutMs) =>
      reportRequests.requestExplanation(connectedWorkers(), question, timeoutMs),
    signal(name) {
      for (const worker of connectedWorkers()) worker.process.kill(name)
    },
    async drain() {
      draining = true
      for (const worker of connectedWorkers()) requestDrain(worker)
      return Math.max(0, ...(await Promise.all(exits.values())))
    },
    kill() {
      draining = true
      for (const worker of connectedWorkers()) worker.process.kill('SIGKILL')
    },
  }
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : String(error)
}

function connectedWorkers(): Worker[] {
  return Object.values(cluster.workers ?? {}).filter(
    (worker): worker is Worker => worker?.isConnected() ?? false,
  )
}

function requestDrain(worker: Worker): void {
  worker.send({ request: 'drain' } satisfies DrainRequest, () => {})
}
