import { promises } from 'node:dns'
import type { Address, Family, FamilyAnswer, Resolve } from './address.ts'

/** getaddrinfo tells no time to live. */
const TTL_MS = 30_000

/**
 * Asks getaddrinfo, which holds one of libuv's four threads for as long as it takes, for one name at a time: so the
 * other threads are always there for signatures and files.
 */
export function createSystemLookup(
  lookup: (name: string) => Promise<readonly Address[]> = lookupAll,
): Resolve {
  let last: Promise<unknown> = Promise.resolve()

  async function ask(name: string): ReturnType<Resolve> {
    try {
      const found = await lookup(name)
      if (found.length === 0) return { kind: 'none' }
      return { kind: 'found', answers: { 4: answerOf(found, 4), 6: answerOf(found, 6) }, late: null }
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      if (code === 'ENOTFOUND') return { kind: 'none' }
      return { kind: 'failed', silent: false, cause: error as Error }
    }
  }

  return (name) => {
    const asked = last.then(() => ask(name))
    last = asked
    return asked
  }
}

function answerOf(found: readonly Address[], wanted: Family): FamilyAnswer {
  const addresses = found.filter(({ family }) => family === wanted).map(({ address }) => address)
  return addresses.length === 0
    ? { kind: 'none', nameExists: true }
    : { kind: 'addresses', addresses, ttlMs: TTL_MS }
}

async function lookupAll(name: string): Promise<readonly Address[]> {
  return (await promises.lookup(name, { all: true, order: 'verbatim' })) as readonly Address[]
}
