import cluster, { type Worker } from 'node:cluster'
import { AggregatorRegistry } from 'prom-client'
import type { Readiness } from '../endpoints.ts'
import type { Scheduler } from '../scheduler.ts'
import type { Ports } from './front.ts'
import type { Status } from './status.ts'

/** What a worker tells its primary of itself. */
export interface WorkerReport {
  readonly readiness: Readiness
  readonly metrics: object[]
  readonly status: Status
}

/** What Prometheus scrapes. */
export interface Exposition {
  readonly contentType: string
  readonly body: string
}

interface Ask {
  readonly ask: 'report'
  readonly id: number
}

/** Not a signal: a service manager sends its own to the whole group, and two would mean to leave at once. */
interface Leave {
  readonly ask: 'leave'
}

interface Told {
  readonly report: WorkerReport
  readonly id: number
}

/** The worker's half: answers the primary's questions and leaves when told to. */
export function answerPrimary(report: () => Promise<WorkerReport>, onLeave: () => void): void {
  process.on('message', (message: Ask | Leave) => {
    if (message.ask === 'leave') return onLeave()
    if (message.ask !== 'report') return
    void report().then((given) => {
      if (process.connected) process.send?.({ report: given, id: message.id } satisfies Told)
    })
  })
}

/** Says that the worker's listeners are open. */
export function tellListening(ports: Ports): void {
  process.send?.({ listening: ports })
}

export interface WorkersParts {
  readonly count: number
  /** Settings beside those of the primary. */
  readonly env: Readonly<Record<string, string>>
  readonly scheduler: Scheduler
  readonly log: { info(fields: object, message: string): void; error(fields: object, message: string): void }
}

/** The processes that serve, as their primary sees them. */
export interface Workers {
  /** Resolves when all listen, with their port. Rejects where one ends before that. */
  readonly listening: Promise<Ports>
  /** What the workers report; one that does not answer in time is left out. */
  reports(): Promise<readonly WorkerReport[]>
  signal(name: NodeJS.Signals): void
  /** Asks all to leave. @returns the worst exit code */
  leave(): Promise<number>
  /** Ends all now. */
  kill(): void
}

/** A worker that is stuck must not hold up a scrape. */
const REPORT_MS = 1000

/** One that dies at once again is started again no faster than this. */
const RESPAWN_MS = 200

/**
 * Starts so many processes that share the listening port: the primary accepts and hands connections round. A
 * worker that dies is replaced; connections that were waiting go to the others.
 */
export function startWorkers({ count, env, scheduler, log }: WorkersParts): Workers {
  const listening = Promise.withResolvers<Ports>()
  const waiting = new Map<number, (report: WorkerReport | null) => void>()
  const exits: Promise<number>[] = []
  let leaving = false
  let ready = 0
  let asked = 0

  function fork(): void {
    const worker = cluster.fork(env)
    let listens = false
    worker.on('message', (message: Partial<Told> & { listening?: Ports }) => {
      if (message.listening !== undefined) {
        listens = true
        ready++
        if (ready === count) listening.resolve(message.listening)
      }
      if (message.id !== undefined) waiting.get(message.id)?.(message.report ?? null)
    })
    exits.push(
      new Promise((resolve) => {
        worker.once('exit', (code, signal) => {
          resolve(signal === null ? code : 1)
          replace(worker, listens, signal ?? code)
        })
      }),
    )
  }

  function replace(worker: Worker, listened: boolean, how: string | number): void {
    if (leaving) return
    if (!listened && ready < count) {
      leaving = true
      listening.reject(new Error(`a worker ended with ${how} before it listened`))
      return
    }
    ready = Math.min(ready, count - 1)
    log.error({ pid: worker.process.pid, how }, 'a worker has died; another one takes its place')
    scheduler.after(RESPAWN_MS, () => {
      if (!leaving) fork()
    })
  }

  function living(): Worker[] {
    return Object.values(cluster.workers ?? {}).filter(
      (worker): worker is Worker => worker?.isConnected() ?? false,
    )
  }

  function ask(worker: Worker): Promise<WorkerReport | null> {
    asked++
    const id = asked
    return new Promise((resolve) => {
      const done = (report: WorkerReport | null) => {
        waiting.delete(id)
        cancel()
        resolve(report)
      }
      const cancel = scheduler.after(REPORT_MS, () => done(null))
      waiting.set(id, done)
      worker.send({ ask: 'report', id } satisfies Ask, (error) => error !== null && done(null))
    })
  }

  for (let i = 0; i < count; i++) fork()

  return {
    listening: listening.promise,
    async reports() {
      const reports = await Promise.all(living().map(ask))
      return reports.filter((report) => report !== null)
    },
    signal(name) {
      for (const worker of living()) worker.process.kill(name)
    },
    async leave() {
      leaving = true
      for (const worker of living()) worker.send({ ask: 'leave' } satisfies Leave)
      return Math.max(0, ...(await Promise.all(exits.slice(-count))))
    },
    kill() {
      leaving = true
      for (const worker of living()) worker.process.kill('SIGKILL')
    },
  }
}

/** Counters, histograms and in-flight are summed; ups are the least, timestamps the greatest. */
export async function aggregate(reports: readonly WorkerReport[]): Promise<Exposition> {
  const registry = AggregatorRegistry.aggregate(reports.map((report) => report.metrics) as never)
  return { contentType: registry.contentType, body: await registry.metrics() }
}

/** Ready where every worker is. */
export function combinedReadiness(reports: readonly WorkerReport[], count: number): Readiness {
  const reasons = new Set(reports.flatMap(({ readiness }) => readiness.reasons))
  if (reports.length < count) reasons.add(`${count - reports.length} of ${count} workers do not answer`)
  return { ready: reasons.size === 0, reasons: [...reasons] }
}
