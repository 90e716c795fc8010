import { promises } from 'node:dns'
import type { Scheduler } from '../core/scheduler.ts'
import { type Answers, FAMILIES, type Family, type FamilyAnswer, type Resolution } from './address.ts'
import { candidatesOf, type ResolverSettings } from './resolver-settings.ts'

/** Queries name servers by c-ares, which needs no thread for a query, so that queries do not wait for each other. */
export interface NameServers {
  resolve(name: string): Promise<Resolution>
  /** Cancels all queries under way. */
  close(): void
}

export interface NameServersParts {
  /** Returns the same object until the settings change. */
  readonly settings: () => ResolverSettings
  readonly scheduler: Scheduler
}

/**
 * How long the answer for one family waits for the answer for the other (RFC 8305, section 3). Some servers do not
 * answer queries for IPv6 addresses; they delay a look-up by no more than this.
 */
const RESOLUTION_DELAY_MS = 50

/** c-ares doubles the waiting time with each try, and shortens it for servers that are known to answer quickly. */
const TRIES = 5
const MAX_TIMEOUT_MS = 2000

/** The name has no such addresses. `EBADNAME` stands for a name that cannot be sent in a query, such as `a..b`. */
const NO_ADDRESS = new Set(['ENOTFOUND', 'ENODATA', 'EBADNAME'])

const SILENT = new Set(['ETIMEOUT', 'ECONNREFUSED', 'ECANCELLED'])

export function createNameServers({ settings, scheduler }: NameServersParts): NameServers {
  let currentSettings = settings()
  let resolver = createResolver(currentSettings)
  let closed = false
  const queries = new Map<string, Promise<FamilyAnswer>>()

  /** Switches to changed settings. Queries to the previous servers are cancelled; `lookUpFamily` then repeats them. */
  function useCurrentSettings(): void {
    const latest = settings()
    if (latest === currentSettings) return
    const previous = resolver
    currentSettings = latest
    resolver = createResolver(latest)
    previous.cancel()
  }

  async function lookUpFamily(name: string, family: Family): Promise<FamilyAnswer> {
    const usedResolver = resolver
    try {
      const records =
        family === 4
          ? await usedResolver.resolve4(name, { ttl: true })
          : await usedResolver.resolve6(name, { ttl: true })
      if (records.length === 0) return { kind: 'none', nameExists: true }
      const ttlMs = Math.min(...records.map(({ ttl }) => ttl)) * 1000
      return { kind: 'addresses', addresses: records.map(({ address }) => address), ttlMs }
    } catch (error) {
      const { code = '' } = error as NodeJS.ErrnoException
      if (usedResolver !== resolver && !closed) return lookUpFamily(name, family)
      if (NO_ADDRESS.has(code)) return { kind: 'none', nameExists: code === 'ENODATA' }
      return { kind: 'failed', silent: SILENT.has(code), cause: error as Error }
    }
  }

  /** A query that is under way is not sent again, as where a server has answered for the other family only. */
  function shareQuery(name: string, family: Family): Promise<FamilyAnswer> {
    const key = `${family} ${name}`
    const pending = queries.get(key)
    if (pending !== undefined) return pending
    const query = lookUpFamily(name, family).finally(() => queries.delete(key))
    queries.set(key, query)
    return query
  }

  /** Looks up both families at once. Does not wait for the second answer where the first one is enough. */
  async function lookUpBoth(name: string): Promise<{ answers: Answers; late: Promise<Answers> | null }> {
    const answers: Record<Family, FamilyAnswer | null> = {
      4: null,
      6: currentSettings.asksIPv6 ? null : { kind: 'none', nameExists: true },
    }
    const enough = Promise.withResolvers<void>()
    let cancel: (() => void) | null = null
    const all = Promise.all(
      FAMILIES.filter((family) => answers[family] === null).map(async (family) => {
        answers[family] = await shareQuery(name, family)
        if (isSufficient(answers)) cancel ??= scheduler.after(RESOLUTION_DELAY_MS, enough.resolve)
      }),
    )
    await Promise.race([all, enough.promise])
    ;(cancel as (() => void) | null)?.()
    const isComplete = FAMILIES.every((family) => answers[family] !== null)
    return { answers: { ...answers }, late: isComplete ? null : all.then(() => answers) }
  }

  async function resolve(name: string): Promise<Resolution> {
    useCurrentSettings()
    let failure: (Resolution & { kind: 'failed' }) | null = null
    let searching = true
    for (const candidate of candidatesOf(name, currentSettings)) {
      if (!searching && !candidate.asGiven) continue
      const { answers, late } = await lookUpBoth(candidate.name)
      const given = FAMILIES.map((family) => answers[family])
      if (given.some((answer) => answer?.kind === 'addresses')) return { kind: 'found', answers, late }
      for (const answer of given) if (answer?.kind === 'failed') failure ??= answer
      // As in the C library: once no server has answered, no further search domain is tried, only the name as given.
      const silent = given.some((answer) => answer?.kind === 'failed' && answer.silent)
      if (silent && !candidate.asGiven) searching = false
    }
    return failure ?? { kind: 'none' }
  }

  return {
    resolve,
    close() {
      closed = true
      resolver.cancel()
    },
  }
}

/** True where the other family's answer is not needed, so that it is waited for only a moment longer. */
function isSufficient(answers: Answers): boolean {
  if (FAMILIES.some((family) => answers[family]?.kind === 'addresses')) return true
  // Only IPv4 counts here: some servers wrongly say that a name does not exist when asked for its IPv6 addresses
  // (RFC 4074).
  return answers[4]?.kind === 'none' && !answers[4].nameExists
}

function createResolver({ servers, timeoutMs }: ResolverSettings): promises.Resolver {
  const resolver = new promises.Resolver({
    timeout: timeoutMs,
    tries: TRIES,
    maxTimeout: Math.max(timeoutMs, MAX_TIMEOUT_MS),
  })
  if (servers !== null) resolver.setServers([...servers])
  return resolver
}
