/** What the simulated fleet consists of. Times in milliseconds. */
export interface FleetModel {
  readonly instances: number
  /** Of the whole fleet. Each request has a different token, which is the worst case for batches. */
  readonly requestsPerS: number
  readonly connections: number
  readonly roundTripMs: number
  /** Cores of the database's machine, which do nothing else. */
  readonly cores: number
  /** CPU of the database for one query, and for each id in it. */
  readonly queryMs: number
  readonly idMs: number
  readonly durationMs: number
  /** From 0 up to, but not including, 1. */
  readonly random: () => number
}

export interface FleetFigures {
  readonly queriesPerS: number
  readonly idsPerQuery: number
  /** The share of the cores that is busy, 0 to 1. */
  readonly busy: number
  readonly p50Ms: number
  readonly p99Ms: number
}

/** As in gateway/auth/token-store/token-lookup.ts. */
const OVERLAP_AFTER_MS = 5
const MAX_BATCH = 1000

interface Instance {
  waiting: number[]
  inFlight: number
  lastSentAt: number
  timerAt: number
}

/**
 * Look-ups arrive at random (Poisson), wait for the instance's query under way, and go together; the queries of all
 * instances wait for a core of one database. No look-up is dropped: above the capacity the waits grow without bound.
 */
export function simulateFleet(model: FleetModel): FleetFigures {
  const events = createEventQueue()
  const instances = Array.from({ length: model.instances }, newInstance)
  const queue: { readonly batch: readonly number[]; readonly of: Instance }[] = []
  const waits: number[] = []
  let idleCores = model.cores
  let queries = 0
  let ids = 0
  let busyMs = 0

  function onArrival(now: number): void {
    const instance = instances[Math.floor(model.random() * instances.length)]!
    instance.waiting.push(now)
    sendIfAllowed(instance, now)
    const next = now - (Math.log(1 - model.random()) * 1000) / model.requestsPerS
    if (next < model.durationMs) events.push(next, onArrival)
  }

  function sendIfAllowed(instance: Instance, now: number): void {
    if (instance.waiting.length === 0) return
    if (instance.inFlight === 0) {
      sendBatch(instance, now)
      return
    }
    if (instance.inFlight >= model.connections || instance.timerAt > now) return
    instance.timerAt = Math.max(now, instance.lastSentAt + OVERLAP_AFTER_MS)
    events.push(instance.timerAt, (at) => {
      instance.timerAt = -1
      if (instance.waiting.length > 0 && instance.inFlight < model.connections) sendBatch(instance, at)
    })
  }

  function sendBatch(of: Instance, now: number): void {
    const batch = of.waiting.splice(0, MAX_BATCH)
    of.inFlight++
    of.lastSentAt = now
    queries++
    ids += batch.length
    events.push(now + model.roundTripMs / 2, (at) => {
      queue.push({ batch, of })
      startQueries(at)
    })
  }

  function startQueries(now: number): void {
    while (idleCores > 0 && queue.length > 0) {
      const { batch, of } = queue.shift()!
      const tookMs = model.queryMs + model.idMs * batch.length
      idleCores--
      busyMs += tookMs
      events.push(now + tookMs, (at) => {
        idleCores++
        startQueries(at)
      })
      events.push(now + tookMs + model.roundTripMs / 2, (at) => {
        of.inFlight--
        for (const since of batch) waits.push(at - since)
        sendIfAllowed(of, at)
      })
    }
  }

  events.push(0, onArrival)
  events.runUntil(model.durationMs)
  waits.sort((a, b) => a - b)
  const seconds = model.durationMs / 1000
  return {
    queriesPerS: queries / seconds,
    idsPerQuery: ids / queries,
    busy: busyMs / (model.cores * model.durationMs),
    p50Ms: waits[Math.floor(waits.length / 2)] ?? Number.POSITIVE_INFINITY,
    p99Ms: waits[Math.floor(waits.length * 0.99)] ?? Number.POSITIVE_INFINITY,
  }
}

function newInstance(): Instance {
  return { waiting: [], inFlight: 0, lastSentAt: -OVERLAP_AFTER_MS, timerAt: -1 }
}

type Task = (at: number) => void

/** A binary heap by time. */
function createEventQueue() {
  const heap: { readonly at: number; readonly task: Task }[] = []
  function push(at: number, task: Task): void {
    let i = heap.push({ at, task }) - 1
    for (let up = (i - 1) >> 1; i > 0 && heap[up]!.at > heap[i]!.at; up = (i - 1) >> 1) {
      ;[heap[up], heap[i]] = [heap[i]!, heap[up]!]
      i = up
    }
  }
  function pop() {
    const first = heap[0]
    const last = heap.pop()
    if (first === undefined || last === undefined || heap.length === 0) return first
    heap[0] = last
    for (let i = 0; ; ) {
      let least = i
      for (const down of [2 * i + 1, 2 * i + 2])
        if (down < heap.length && heap[down]!.at < heap[least]!.at) least = down
      if (least === i) return first
      ;[heap[least], heap[i]] = [heap[i]!, heap[least]!]
      i = least
    }
  }
  return {
    push,
    runUntil(end: number): void {
      for (let next = pop(); next !== undefined && next.at <= end; next = pop()) next.task(next.at)
    },
  }
}
