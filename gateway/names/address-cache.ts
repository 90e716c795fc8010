import type { Log } from '../core/log.ts'
import type { Scheduler } from '../core/scheduler.ts'
import {
  type Address,
  type Answers,
  FAMILIES,
  type Family,
  type FamilyAnswer,
  type FindAddresses,
  NameError,
  type Resolve,
} from './address.ts'

/** The addresses of names. Callers that need the same name at the same time share one look-up. */
export interface AddressCache {
  /**
   * Returns all known addresses of a name. Each call puts another one first, so that connections are spread over them.
   *
   * @param family 0 for both families
   * @throws NameError where no address is known
   */
  addressesOf(name: string, family: 0 | Family): Promise<readonly Address[]>
  /** The same for both families, with those that are still awaited. */
  readonly find: FindAddresses
  /** Begins a look-up where one is due, for who will need the name. */
  prepare(name: string): void
}

export interface AddressCacheParts {
  readonly resolve: Resolve
  readonly scheduler: Scheduler
  readonly log: Log
}

/**
 * Bounds for a record's time to live. Pooled connections are replaced after the upper bound, so that they follow a
 * changed address as well.
 */
const MIN_ADDRESSES_MS = 1000
export const MAX_ADDRESSES_MS = 30_000

/**
 * Addresses are used for this long while no name server confirms them. RFC 8767, section 5, recommends one to three days:
 * an outage of name servers that lasts longer is rare, and an address that belongs to somebody else by now must not get
 * requests for ever.
 */
const MAX_UNCONFIRMED_MS = 86_400_000

/**
 * Addresses that expired longer ago than `UNUSED_MS` have not been in use since and may be wrong by now. The new answer
 * is waited for, but no longer than `REFRESH_WAIT_MS`.
 */
const UNUSED_MS = 30_000
const REFRESH_WAIT_MS = 250

/** A name that could not be resolved is looked up again after this time. The time doubles with each failure. */
const FIRST_RETRY_MS = 1000
const MAX_RETRY_MS = 10_000

/**
 * When a name has not existed (NXDOMAIN) for this long, its addresses are dropped, since they may belong to somebody
 * else by now. They are kept before that because a name can be missing for a moment during a rollout.
 */
const GONE_MS = 60_000

/** When a new name is added, names that were not used for this long are dropped. */
const FORGET_MS = MAX_UNCONFIRMED_MS

interface PendingLookup {
  readonly since: number
  /** Resolves once there are addresses, or the look-up has failed. */
  readonly answered: Promise<void>
  /** Resolves once both families have been answered. */
  readonly complete: Promise<void>
  /** One family has been answered, and the other one is awaited. */
  partial: boolean
}

interface Entry {
  known: Readonly<Record<Family, readonly Address[]>>
  /** When each family was answered last. */
  confirmedAt: Record<Family, number>
  /** In the last look-up one family was answered, and the other one was not. */
  lacksFamily: boolean
  freshUntil: number
  lookup: PendingLookup | null
  /** Failed look-ups since the last good answer. */
  failures: number
  failure: NameError | null
  retryAt: number
  /** When the name was first found not to exist, since its last good answer. */
  deniedAt: number | null
  /** Counts the calls, so that each begins with the next address. */
  nextIndex: number
  usedAt: number
}

const NOTHING: Entry['known'] = { 4: [], 6: [] }

/**
 * Known addresses are returned at once, even when they have expired; new ones are looked up meanwhile. A name server
 * that fails or does not answer leaves them in use. An answer for one family replaces the addresses of that family only.
 */
export function createAddressCache({ resolve, scheduler, log }: AddressCacheParts): AddressCache {
  const entries = new Map<string, Entry>()
  const { now } = scheduler

  function findEntry(name: string): Entry {
    let entry = entries.get(name)
    if (entry === undefined) {
      for (const [other, { usedAt, lookup }] of entries)
        if (lookup === null && now() - usedAt > FORGET_MS) entries.delete(other)
      entry = createEntry()
      entries.set(name, entry)
    }
    entry.usedAt = now()
    return entry
  }

  function startLookup(name: string, entry: Entry): void {
    const answered = Promise.withResolvers<void>()
    const complete = resolve(name).then(async (resolution) => {
      if (resolution.kind === 'found') {
        storeAnswers(name, entry, resolution.answers)
        lookup.partial = resolution.late !== null
        answered.resolve()
        if (resolution.late !== null) storeLateAnswers(entry, resolution.answers, await resolution.late)
      } else if (resolution.kind === 'none') storeDenial(name, entry)
      else storeFailure(name, entry, new NameError('EAI_AGAIN', name, { cause: resolution.cause }))
      if (entry.lookup === lookup) entry.lookup = null
      answered.resolve()
    })
    const lookup: PendingLookup = { since: now(), answered: answered.promise, complete, partial: false }
    entry.lookup = lookup
  }

  function storeAnswers(name: string, entry: Entry, answers: Answers): void {
    if (entry.failures > 0) log.info({ name }, 'name resolved again')
    Object.assign(entry, { failures: 0, failure: null, deniedAt: null })
    entry.freshUntil = now() + MAX_ADDRESSES_MS
    for (const family of FAMILIES) storeAnswer(entry, family, answers[family])
  }

  function storeLateAnswers(entry: Entry, before: Answers, answers: Answers): void {
    const late = FAMILIES.filter((family) => before[family] === null)
    for (const family of late) storeAnswer(entry, family, answers[family])
    entry.lacksFamily = late.some((family) => answers[family]?.kind === 'failed')
  }

  /** Without an answer the addresses of this family stay as they are. */
  function storeAnswer(entry: Entry, family: Family, answer: FamilyAnswer | null): void {
    if (answer === null || answer.kind === 'failed') return
    const addresses =
      answer.kind === 'none' ? [] : answer.addresses.map((address): Address => ({ address, family }))
    entry.known = { ...entry.known, [family]: addresses }
    entry.confirmedAt[family] = now()
    if (answer.kind === 'none') return
    entry.freshUntil = Math.min(entry.freshUntil, now() + Math.max(answer.ttlMs, MIN_ADDRESSES_MS))
  }

  function storeDenial(name: string, entry: Entry): void {
    entry.deniedAt ??= now()
    if (now() - entry.deniedAt >= GONE_MS) entry.known = NOTHING
    storeFailure(name, entry, new NameError('ENOTFOUND', name))
  }

  function storeFailure(name: string, entry: Entry, failure: NameError): void {
    const addresses = addressesIn(entry, 0).map(({ address }) => address)
    if (entry.failures === 0 && addresses.length > 0)
      log.warn(
        { name, addresses, err: failure },
        'name could not be resolved; its last addresses stay in use',
      )
    entry.retryAt = now() + Math.min(FIRST_RETRY_MS * 2 ** entry.failures, MAX_RETRY_MS)
    entry.failures++
    entry.failure = failure
  }

  function dropUnconfirmed(entry: Entry): void {
    for (const family of FAMILIES)
      if (entry.known[family].length > 0 && now() - entry.confirmedAt[family] > MAX_UNCONFIRMED_MS)
        entry.known = { ...entry.known, [family]: [] }
  }

  /** How much longer the new answer is waited for where there are addresses; 0 where the resolver is known to fail. */
  function waitMs(entry: Entry, { since }: PendingLookup): number {
    return entry.failures > 0 ? 0 : Math.max(0, since + REFRESH_WAIT_MS - now())
  }

  async function waitForAnswer({ answered }: PendingLookup, ms: number): Promise<void> {
    if (ms === 0) return
    const late = Promise.withResolvers<void>()
    const cancel = scheduler.after(ms, late.resolve)
    await Promise.race([answered, late.promise])
    cancel()
  }

  /** @returns what brings further addresses; null where that has failed before */
  function moreAddresses(entry: Entry): Promise<void> | null {
    const { lookup } = entry
    if (lookup === null) return null
    if (lookup.partial) return entry.lacksFamily ? null : lookup.complete
    const ms = waitMs(entry, lookup)
    return ms === 0 ? null : waitForAnswer(lookup, ms)
  }

  /** The name's entry, once it has addresses or its look-up has ended. A look-up begins where one is due. */
  async function prepareEntry(name: string, family: 0 | Family): Promise<Entry> {
    const entry = findEntry(name)
    dropUnconfirmed(entry)
    const isDue = now() >= entry.freshUntil && now() >= entry.retryAt
    // A family that is still awaited must not make the other one's addresses stay.
    if (isDue && (entry.lookup === null || entry.lookup.partial)) startLookup(name, entry)
    const { lookup } = entry
    if (lookup === null) return entry
    if (addressesIn(entry, family).length === 0) await (family === 0 ? lookup.answered : lookup.complete)
    else if (now() - entry.freshUntil > UNUSED_MS) await waitForAnswer(lookup, waitMs(entry, lookup))
    return entry
  }

  /** @throws NameError */
  function nextAddresses(name: string, entry: Entry, family: 0 | Family): readonly Address[] {
    const usable = addressesIn(entry, family)
    if (usable.length === 0) throw copyError(entry.failure) ?? new NameError('ENOTFOUND', name)
    const first = entry.nextIndex++ % usable.length
    return [...usable.slice(first), ...usable.slice(0, first)]
  }

  return {
    async addressesOf(name, family) {
      return nextAddresses(name, await prepareEntry(name, family), family)
    },
    prepare(name) {
      void prepareEntry(name, 0)
    },
    async find(name) {
      const entry = await prepareEntry(name, 0)
      const addresses = nextAddresses(name, entry, 0)
      const more = moreAddresses(entry)
      return { addresses, later: more === null ? null : more.then(() => addressesIn(entry, 0)) }
    },
  }
}

function createEntry(): Entry {
  return {
    known: NOTHING,
    confirmedAt: { 4: 0, 6: 0 },
    lacksFamily: false,
    freshUntil: Number.NEGATIVE_INFINITY,
    lookup: null,
    failures: 0,
    failure: null,
    retryAt: Number.NEGATIVE_INFINITY,
    deniedAt: null,
    nextIndex: 0,
    usedAt: 0,
  }
}

function addressesIn({ known }: Entry, family: 0 | Family): readonly Address[] {
  return family === 0 ? FAMILIES.flatMap((each) => known[each]) : known[family]
}

/** Each caller gets an error of its own, since some callers change the errors that they get. */
function copyError(failure: NameError | null): NameError | null {
  if (failure === null) return null
  const { code, hostname, cause } = failure
  return new NameError(code, hostname, cause === undefined ? {} : { cause: cause as Error })
}
