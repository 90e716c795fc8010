import type { Log } from '../core/log.ts'
import type { Scheduler } from '../core/scheduler.ts'
import { type Address, type Answers, FAMILIES, type Family, NameError, type Resolve } from './address.ts'

/** The addresses of names, each of which is asked for once for all who want it. */
export interface AddressBook {
  /**
   * Each call begins with the next of the name's addresses.
   *
   * @param family 0 for both
   * @throws NameError
   */
  addressesOf(name: string, family: 0 | Family): Promise<readonly Address[]>
}

export interface AddressBookParts {
  readonly resolve: Resolve
  readonly scheduler: Scheduler
  readonly log: Log
}

/** Bounds for a record's time to live. A pooled connection is made anew after the longest, too. */
export const MIN_ADDRESSES_MS = 1000
export const MAX_ADDRESSES_MS = 30_000

/** Addresses that ran out longer ago than this were not in use: a new answer is waited for, but not for long. */
const UNUSED_MS = 30_000
const REFRESH_WAIT_MS = 250

/** A name that failed is asked for again after this time, after twice as long the next time, and so on. */
const FIRST_RETRY_MS = 1000
const MAX_RETRY_MS = 10_000

/**
 * A name that was known and is denied (NXDOMAIN) for this long has gone: its addresses may be another's by now. A
 * name can be denied for a moment while what it names is rolled out.
 */
const GONE_MS = 60_000

/** Names that nobody has asked for in this time are dropped when a new one comes. */
const FORGET_MS = 600_000

interface AccessRequest {
  readonly since: number
  /** Resolves once there are addresses, or a failure. */
  readonly answered: Promise<void>
  /** Resolves once both families have been answered. */
  readonly complete: Promise<void>
}

interface Entry {
  known: Readonly<Record<Family, readonly Address[]>>
  freshUntil: number
  question: AccessRequest | null
  /** Since the last good answer. */
  failures: number
  failure: NameError | null
  retryAt: number
  /** When the name was denied for the first time since it was known. */
  deniedAt: number | null
  turn: number
  usedAt: number
}

const NOTHING: Entry['known'] = { 4: [], 6: [] }

/**
 * Addresses once known are given at once while new ones are asked for. Silence and failures keep them; only answers
 * replace them, each family's for itself.
 */
export function createAddressBook({ resolve, scheduler, log }: AddressBookParts): AddressBook {
  const entries = new Map<string, Entry>()
  const { now } = scheduler

  function entryOf(name: string): Entry {
    let entry = entries.get(name)
    if (entry === undefined) {
      for (const [other, { usedAt, question }] of entries)
        if (question === null && now() - usedAt > FORGET_MS) entries.delete(other)
      entry = createEntry()
      entries.set(name, entry)
    }
    entry.usedAt = now()
    return entry
  }

  function ask(name: string, entry: Entry): void {
    const answered = Promise.withResolvers<void>()
    const complete = resolve(name).then(async (resolution) => {
      if (resolution.kind === 'found') {
        takeAnswers(name, entry, resolution.answers)
        answered.resolve()
        if (resolution.late !== null) takeAnswers(name, entry, await resolution.late)
      } else if (resolution.kind === 'none') takeDenial(name, entry)
      else takeFailure(name, entry, new NameError('EAI_AGAIN', name, { cause: resolution.cause }))
      entry.question = null
      answered.resolve()
    })
    entry.question = { since: now(), answered: answered.promise, complete }
  }

  function takeAnswers(name: string, entry: Entry, answers: Answers): void {
    const known = { ...entry.known }
    let ttlMs = MAX_ADDRESSES_MS
    for (const family of FAMILIES) {
      const answer = answers[family]
      if (answer === null || answer.kind === 'failed') continue
      known[family] = answer.kind === 'none' ? [] : answer.addresses.map((address) => ({ address, family }))
      if (answer.kind === 'addresses') ttlMs = Math.min(ttlMs, answer.ttlMs)
    }
    if (entry.failures > 0) log.info({ name }, 'the name is resolved again')
    Object.assign(entry, { known, failures: 0, failure: null, deniedAt: null })
    entry.freshUntil = now() + Math.max(ttlMs, MIN_ADDRESSES_MS)
  }

  function takeDenial(name: string, entry: Entry): void {
    entry.deniedAt ??= now()
    if (now() - entry.deniedAt >= GONE_MS) entry.known = NOTHING
    takeFailure(name, entry, new NameError('ENOTFOUND', name))
  }

  function takeFailure(name: string, entry: Entry, failure: NameError): void {
    const addresses = addressesIn(entry, 0).map(({ address }) => address)
    if (entry.failures === 0 && addresses.length > 0)
      log.warn({ name, addresses, err: failure }, 'the name is not resolved; the last addresses stay in use')
    entry.retryAt = now() + Math.min(FIRST_RETRY_MS * 2 ** entry.failures, MAX_RETRY_MS)
    entry.failures++
    entry.failure = failure
  }

  /** For addresses that were not in use and may have changed meanwhile; not where the resolver is known to fail. */
  async function waitBriefly(entry: Entry, { since, answered }: AccessRequest): Promise<void> {
    const leftMs = since + REFRESH_WAIT_MS - now()
    if (entry.failures > 0 || leftMs <= 0 || now() - entry.freshUntil <= UNUSED_MS) return
    const late = Promise.withResolvers<void>()
    const cancel = scheduler.after(leftMs, late.resolve)
    await Promise.race([answered, late.promise])
    cancel()
  }

  return {
    async addressesOf(name, family) {
      const entry = entryOf(name)
      const isDue = now() >= entry.freshUntil && now() >= entry.retryAt
      if (entry.question === null && isDue) ask(name, entry)
      const { question } = entry
      if (question !== null) {
        if (addressesIn(entry, family).length > 0) await waitBriefly(entry, question)
        else await (family === 0 ? question.answered : question.complete)
      }
      const usable = addressesIn(entry, family)
      if (usable.length === 0) throw copyOf(entry.failure) ?? new NameError('ENOTFOUND', name)
      const first = entry.turn++ % usable.length
      return [...usable.slice(first), ...usable.slice(0, first)]
    },
  }
}

function createEntry(): Entry {
  return {
    known: NOTHING,
    freshUntil: Number.NEGATIVE_INFINITY,
    question: null,
    failures: 0,
    failure: null,
    retryAt: Number.NEGATIVE_INFINITY,
    deniedAt: null,
    turn: 0,
    usedAt: 0,
  }
}

function addressesIn({ known }: Entry, family: 0 | Family): readonly Address[] {
  return family === 0 ? FAMILIES.flatMap((each) => known[each]) : known[family]
}

/** One for each caller, as some write into the errors they get. */
function copyOf(failure: NameError | null): NameError | null {
  if (failure === null) return null
  const { code, hostname, cause } = failure
  return new NameError(code, hostname, cause === undefined ? {} : { cause: cause as Error })
}
