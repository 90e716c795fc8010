import { promises } from 'node:dns'
import type { Address, Family, FamilyAnswer, Resolution, Resolve } from './address.ts'

/** A fixed time to live, since getaddrinfo does not return one. */
const TTL_MS = 30_000

/** Each call holds one of libuv's four threads until it is answered. The other ones stay free for signatures and files. */
const MAX_CALLS = 2

/** A name whose call took longer than this shares one of the calls with all others of its kind the next time. */
const SLOW_MS = 1000

export interface SystemLookupParts {
  /** Milliseconds, monotonic. */
  readonly now: () => number
  readonly lookup?: (name: string) => Promise<readonly Address[]>
}

/**
 * Asks getaddrinfo for two names at a time, of which one at most was slow the last time. So a name that a source does not
 * answer holds up others of its kind, and no other name.
 */
export function createSystemLookup({ now, lookup = lookupAll }: SystemLookupParts): Resolve {
  const waiting: { readonly name: string; readonly onResult: (resolution: Resolution) => void }[] = []
  const slow = new Set<string>()
  const running = { all: 0, slow: 0 }

  function startNext(): void {
    if (running.all === MAX_CALLS) return
    const at = waiting.findIndex(({ name }) => running.slow === 0 || !slow.has(name))
    if (at === -1) return
    const [{ name, onResult }] = waiting.splice(at, 1) as [(typeof waiting)[0]]
    void run(name).then(onResult)
    startNext()
  }

  async function run(name: string): Promise<Resolution> {
    const wasSlow = slow.has(name)
    const began = now()
    running.all++
    if (wasSlow) running.slow++
    const resolution = await resolveBy(lookup, name)
    running.all--
    if (wasSlow) running.slow--
    if (now() - began > SLOW_MS) slow.add(name)
    else slow.delete(name)
    startNext()
    return resolution
  }

  return (name) =>
    new Promise((resolve) => {
      waiting.push({ name, onResult: resolve })
      startNext()
    })
}

async function resolveBy(
  lookup: NonNullable<SystemLookupParts['lookup']>,
  name: string,
): Promise<Resolution> {
  try {
    const found = await lookup(name)
    if (found.length === 0) return { kind: 'none' }
    return { kind: 'found', answers: { 4: familyAnswer(found, 4), 6: familyAnswer(found, 6) }, late: null }
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOTFOUND') return { kind: 'none' }
    return { kind: 'failed', silent: false, cause: error as Error }
  }
}

function familyAnswer(found: readonly Address[], wanted: Family): FamilyAnswer {
  const addresses = found.filter(({ family }) => family === wanted).map(({ address }) => address)
  return addresses.length === 0
    ? { kind: 'none', nameExists: true }
    : { kind: 'addresses', addresses, ttlMs: TTL_MS }
}

async function lookupAll(name: string): Promise<readonly Address[]> {
  return (await promises.lookup(name, { all: true, order: 'verbatim' })) as readonly Address[]
}
