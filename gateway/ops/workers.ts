import cluster, { type Worker } from 'node:cluster'
import type { Readiness } from '../endpoints.ts'
import type { RoutingInForce } from '../routing/live-routing.ts'
import type { Scheduler } from '../scheduler.ts'
import { grownTogether, type ProcessMetrics } from './exposition.ts'
import type { Ports } from './front.ts'
import { watchHandovers } from './handovers.ts'
import type { ProcessStatus } from './status.ts'
import type { Totals } from './totals.ts'

/** What a serving process tells of itself, each part when it is asked for: most of them cost time. */
export interface Reports {
  readonly readiness: Readiness
  readonly metrics: ProcessMetrics
  readonly status: ProcessStatus
  readonly totals: Totals
  readonly routing: RoutingInForce
}

export type Reporter = { readonly [Part in keyof Reports]: () => Promise<Reports[Part]> | Reports[Part] }

interface Ask {
  readonly ask: keyof Reports
  readonly id: number
}

/** Not a signal: a service manager sends its own to the whole group, and two would mean to leave at once. */
interface Leave {
  readonly ask: 'leave'
}

/** What a worker says unasked: that it listens, or why it cannot; or that it needs to know what the others serve. */
interface Says {
  readonly listening?: Ports
  readonly cannotStart?: readonly string[]
  readonly needs?: 'routing'
}

/** A worker cannot start for reasons that are the settings' or the surroundings' doing. */
export class WorkerStartError extends Error {
  override readonly name = 'WorkerStartError'
  readonly reasons: readonly string[]

  constructor(reasons: readonly string[]) {
    super(reasons.join('\n'))
    this.reasons = reasons
  }
}

/** The answer to that need; null where there is nobody who knows. */
interface Routing {
  readonly routing: RoutingInForce | null
}

interface Told {
  readonly ask: keyof Reports
  /** Null where it could not be made. */
  readonly report: Reports[keyof Reports] | null
  readonly id: number
}

/** The worker's half: answers the primary's questions and leaves when told to. */
export function answerPrimary(reporter: Reporter, onLeave: () => void): void {
  async function tell({ ask, id }: Ask): Promise<void> {
    const report = await reporter[ask]()
    if (process.connected) process.send?.({ ask, report, id } satisfies Told)
  }
  process.on('message', (message: Ask | Leave) => {
    if (message.ask === 'leave') return onLeave()
    if (!Object.hasOwn(reporter, message.ask)) return
    // What cannot be told is as good as no answer, and no reason to end.
    void tell(message).catch(() =>
      process.send?.({ ask: message.ask, report: null, id: message.id } satisfies Told),
    )
  })
}

/** Says that the worker's listeners are open. */
export function tellListening(ports: Ports): void {
  process.send?.({ listening: ports } satisfies Says)
}

/** Says why the worker cannot start: its primary tells it once for all of them. Resolves when that is on its way. */
export async function tellCannotStart(reasons: readonly string[]): Promise<void> {
  if (!process.connected) return
  await new Promise((resolve) => process.send?.({ cannotStart: reasons } satisfies Says, resolve))
}

/** What the other workers serve; null where none can tell. */
export function askForRouting(): Promise<RoutingInForce | null> {
  return new Promise((resolve) => {
    const hear = (message: Partial<Routing>) => {
      if (message.routing === undefined) return
      process.off('message', hear)
      resolve(message.routing)
    }
    process.on('message', hear)
    process.send?.({ needs: 'routing' } satisfies Says)
  })
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
  /** Resolves when all listen, with their port. Rejects where one ends before that (WorkerStartError if it said why). */
  readonly listening: Promise<Ports>
  /** What the workers report of this; one that does not answer in time is left out. */
  ask<Part extends keyof Reports>(part: Part): Promise<readonly Reports[Part][]>
  /**
   * The metrics of all, to be summed. A worker that is stuck has a part in it with its latest ones, and one that
   * has died with what it had counted: a sum that fell would look like a restart of everything.
   */
  metrics(): Promise<readonly ProcessMetrics[]>
  signal(name: NodeJS.Signals): void
  /** Asks all to leave. @returns the worst exit code */
  leave(): Promise<number>
  /** Ends all now. */
  kill(): void
}

interface Death {
  /** Exit code or signal. */
  readonly how: string | number
  /** Why it could not start, where it said so. */
  readonly reasons: readonly string[] | null
}

/** A worker that is stuck must not hold up a scrape. */
const REPORT_MS = 1000

/** One that dies at once again is started again no faster than this, and slower each time. */
const RESPAWN_MS = 200
const RESPAWN_MAX_MS = 10_000

/**
 * Starts so many processes that share the listening port: the primary accepts and hands connections round. A
 * worker that dies is replaced; connections that were waiting go to the others.
 */
export function startWorkers({ count, env, scheduler, log }: WorkersParts): Workers {
  const listening = Promise.withResolvers<Ports>()
  const questions = createQuestions(scheduler)
  const exits = new Map<number, Promise<number>>()
  let leaving = false
  let started = false
  let ready = 0
  let deathsInARow = 0

  function fork(): void {
    let worker: Worker
    try {
      worker = cluster.fork(env)
    } catch (error) {
      replace(undefined, false, { how: codeOf(error), reasons: null })
      return
    }
    watchHandovers(worker.process, () => living()[0]?.process ?? null)
    let listens = false
    let reasons: readonly string[] | null = null
    worker.on('message', (message: Partial<Told> & Says) => {
      if (message.needs === 'routing') void tellRouting(worker)
      if (message.cannotStart !== undefined) reasons = message.cannotStart
      if (message.listening !== undefined) {
        listens = true
        ready++
        deathsInARow = 0
        if (ready === count) {
          started = true
          listening.resolve(message.listening)
        }
        // It was asked before it could hear it.
        if (leaving) askToLeave(worker)
      }
      if (message.id !== undefined) questions.answer(worker, message as Told)
    })
    const exit = Promise.withResolvers<number>()
    exits.set(worker.id, exit.promise)
    function end(code: number, how: string | number): void {
      if (!exits.delete(worker.id)) return
      questions.forget(worker)
      exit.resolve(code)
      replace(worker.process.pid, listens, { how, reasons })
    }
    worker.once('exit', (code, signal) => end(signal === null ? code : 1, signal ?? code))
    // One that could not be started has no exit; a message that did not reach one has no other consequence.
    worker.on('error', (error) => {
      if (worker.process.pid === undefined) end(1, codeOf(error))
    })
  }

  async function tellRouting(worker: Worker): Promise<void> {
    const others = living().filter((other) => other !== worker)
    const known = await questions.askAll(others, 'routing')
    // One that is about to read a new file has an older one in force.
    known.sort((a, b) => b.loadedAt - a.loadedAt)
    if (worker.isConnected()) worker.send({ routing: known[0] ?? null } satisfies Routing, () => {})
  }

  function replace(pid: number | undefined, listened: boolean, { how, reasons }: Death): void {
    if (leaving) return
    if (!listened && !started) {
      leaving = true
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
      if (!leaving) fork()
    })
    deathsInARow++
  }

  for (let i = 0; i < count; i++) fork()

  return {
    listening: listening.promise,
    ask: (part) => questions.askAll(living(), part),
    async metrics() {
      await questions.askAll(living(), 'metrics')
      return questions.metrics()
    },
    signal(name) {
      for (const worker of living()) worker.process.kill(name)
    },
    async leave() {
      leaving = true
      for (const worker of living()) askToLeave(worker)
      return Math.max(0, ...(await Promise.all(exits.values())))
    },
    kill() {
      leaving = true
      for (const worker of living()) worker.process.kill('SIGKILL')
    },
  }
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : String(error)
}

function living(): Worker[] {
  return Object.values(cluster.workers ?? {}).filter(
    (worker): worker is Worker => worker?.isConnected() ?? false,
  )
}

function askToLeave(worker: Worker): void {
  worker.send({ ask: 'leave' } satisfies Leave, () => {})
}

/** The primary's questions to its workers, and what is kept of their answers. */
function createQuestions(scheduler: Scheduler) {
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
    /** Those that do not answer in time are left out. */
    async askAll<Part extends keyof Reports>(workers: readonly Worker[], part: Part) {
      const reports = await Promise.all(workers.map((worker) => askOne(worker, part)))
      return reports.filter((report) => report !== null)
    },
    answer(worker: Worker, { ask, id, report }: Told): void {
      if (ask === 'metrics' && report !== null) latest.set(worker.id, report as ProcessMetrics)
      waiting.get(id)?.done(report)
    },
    /** It has died. Nobody waits for it, and what it has counted stays. */
    forget(worker: Worker): void {
      for (const question of waiting.values()) if (question.worker === worker) question.done(null)
      const last = latest.get(worker.id)
      latest.delete(worker.id)
      if (last !== undefined) retired = retired.then((before) => grownTogether([before, last]))
    },
    async metrics(): Promise<readonly ProcessMetrics[]> {
      const before = await retired
      return [...latest.values(), before]
    },
  }
}

/** Ready where every worker is. */
export function combinedReadiness(each: readonly Readiness[], count: number): Readiness {
  const reasons = new Set(each.flatMap((readiness) => readiness.reasons))
  if (each.length < count) reasons.add(`${count - each.length} of ${count} workers do not answer`)
  return { ready: reasons.size === 0, reasons: [...reasons] }
}
