import { promises } from 'node:dns'
import type { Address, Family, FamilyAnswer, Resolve } from './address.ts'

/** A fixed time to live, since getaddrinfo does not return one. */
const TTL_MS = 30_000

/**
 * Asks getaddrinfo for one name at a time. Each call holds one of libuv's four threads until it is answered; the other
 * three stay free for signatures and files.
 */
export function createSystemLookup(
  lookup: (name: string) => Promise<readonly Address[]> = lookupAll,
): Resolve {
  let last: Promise<unknown> = Promise.resolve()

  async function lookUp(name: string): ReturnType<Resolve> {
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

  return (name) => {
    const result = last.then(() => lookUp(name))
    last = result
    return result
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
