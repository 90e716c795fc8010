import { promises } from 'node:dns'
import type { Scheduler } from '../core/scheduler.ts'
import { type Answers, FAMILIES, type Family, type FamilyAnswer, type Resolution } from './address.ts'
import { candidatesOf, type ResolverSettings } from './resolver-settings.ts'

/** Questions to name servers, by c-ares: they take no thread, and wait for one another in nothing. */
export interface NameServers {
  resolve(name: string): Promise<Resolution>
  /** Gives up every question that is under way. */
  close(): void
}

export interface NameServersParts {
  /** The same object until the settings change. */
  readonly settings: () => ResolverSettings
  readonly scheduler: Scheduler
}

/**
 * How long the answer for one family waits for the other's (RFC 8305, section 3): servers that do not answer
 * questions for IPv6 exist, and cost no more than this.
 */
const RESOLUTION_DELAY_MS = 50

/** c-ares waits twice as long before each further try, and less where the server is known to be quick. */
const TRIES = 5
const MAX_TIMEOUT_MS = 2000

/** A name with none of these addresses. c-ares has the last one for a name that cannot be asked for, such as `a..b`. */
const NO_ADDRESS = new Set(['ENOTFOUND', 'ENODATA', 'EBADNAME'])

const SILENT = new Set(['ETIMEOUT', 'ECONNREFUSED', 'ECANCELLED'])

export function createNameServers({ settings, scheduler }: NameServersParts): NameServers {
  let inForce = settings()
  let resolver = resolverOf(inForce)
  let closed = false

  /** Questions to servers that are not used any more are asked again of those that are. */
  function useCurrentSettings(): void {
    const now = settings()
    if (now === inForce) return
    const before = resolver
    inForce = now
    resolver = resolverOf(now)
    before.cancel()
  }

  async function askFamily(name: string, family: Family): Promise<FamilyAnswer> {
    const asked = resolver
    try {
      const records =
        family === 4 ? await asked.resolve4(name, { ttl: true }) : await asked.resolve6(name, { ttl: true })
      if (records.length === 0) return { kind: 'none', nameExists: true }
      const ttlMs = Math.min(...records.map(({ ttl }) => ttl)) * 1000
      return { kind: 'addresses', addresses: records.map(({ address }) => address), ttlMs }
    } catch (error) {
      const { code = '' } = error as NodeJS.ErrnoException
      if (asked !== resolver && !closed) return askFamily(name, family)
      if (NO_ADDRESS.has(code)) return { kind: 'none', nameExists: code === 'ENODATA' }
      return { kind: 'failed', silent: SILENT.has(code), cause: error as Error }
    }
  }

  /** Waits for one family where the other's answer will do. */
  async function ask(name: string): Promise<{ answers: Answers; late: Promise<Answers> | null }> {
    const answers: Record<Family, FamilyAnswer | null> = {
      4: null,
      6: inForce.asksIPv6 ? null : { kind: 'none', nameExists: true },
    }
    const enough = Promise.withResolvers<void>()
    let cancel: (() => void) | null = null
    const all = Promise.all(
      FAMILIES.filter((family) => answers[family] === null).map(async (family) => {
        answers[family] = await askFamily(name, family)
        if (suffices(answers)) cancel ??= scheduler.after(RESOLUTION_DELAY_MS, enough.resolve)
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
    for (const candidate of candidatesOf(name, inForce)) {
      if (!searching && !candidate.asGiven) continue
      const { answers, late } = await ask(candidate.name)
      const given = FAMILIES.map((family) => answers[family])
      if (given.some((answer) => answer?.kind === 'addresses')) return { kind: 'found', answers, late }
      for (const answer of given) if (answer?.kind === 'failed') failure ??= answer
      // As in the C library: silence ends the search through the domains, after which the name itself is asked for.
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

/** True where nothing that the other family's answer could say has to be waited for any longer. */
function suffices(answers: Answers): boolean {
  if (FAMILIES.some((family) => answers[family]?.kind === 'addresses')) return true
  // Not the other way about: there are servers that deny a name when they are asked for its IPv6 (RFC 4074).
  return answers[4]?.kind === 'none' && !answers[4].nameExists
}

function resolverOf({ servers, timeoutMs }: ResolverSettings): promises.Resolver {
  const resolver = new promises.Resolver({
    timeout: timeoutMs,
    tries: TRIES,
    maxTimeout: Math.max(timeoutMs, MAX_TIMEOUT_MS),
  })
  if (servers !== null) resolver.setServers([...servers])
  return resolver
}
