import type { Address } from '../../names/address.ts'

/** Which addresses have not taken a connection lately, of all targets of a process. */
export interface AddressHistory {
  /**
   * Sorts the addresses of a name for one connection: those that have failed lately last, and otherwise the families by
   * turns (RFC 8305, section 4), beginning with that of the first address. Keeps the order within a family.
   */
  sort(addresses: readonly Address[], port: number): readonly Address[]
  /** Another address of the name took the connection. */
  recordFailure(address: Address, port: number): void
  recordSuccess(address: Address, port: number): void
}

/**
 * After a failure an address comes last for this long. The time doubles with each further failure, up to the ten minutes
 * of RFC 6555, section 4.2.
 */
const FIRST_PENALTY_MS = 10_000
const MAX_PENALTY_MS = 600_000

/** Then one connection tries it again, and the others do so only if that has not failed by this time. */
const PROBE_MS = 1000

/** When another address is added to this many, those whose time is over are dropped. */
const PRUNE_FROM = 1000

interface Failures {
  count: number
  /** When a connection may try it first again. */
  retryAt: number
  probedUntil: number
}

/** @param now milliseconds, monotonic */
export function createAddressHistory(now: () => number): AddressHistory {
  const failures = new Map<string, Failures>()

  /** False once for who is to try it again. */
  function comesLast(address: Address, port: number): boolean {
    const failed = failures.get(keyOf(address, port))
    if (failed === undefined) return false
    if (now() < failed.retryAt || now() < failed.probedUntil) return true
    failed.probedUntil = now() + PROBE_MS
    return false
  }

  function addFailures(key: string): Failures {
    if (failures.size >= PRUNE_FROM)
      for (const [each, { retryAt }] of failures) if (retryAt <= now()) failures.delete(each)
    const added = { count: 0, retryAt: 0, probedUntil: 0 }
    failures.set(key, added)
    return added
  }

  return {
    sort(addresses, port) {
      if (addresses.length < 2) return addresses
      const failed = addresses.filter((address) => comesLast(address, port))
      const others = addresses.filter((address) => !failed.includes(address))
      return [...takeTurns(others), ...takeTurns(failed)]
    },
    recordFailure(address, port) {
      const key = keyOf(address, port)
      const failed = failures.get(key) ?? addFailures(key)
      // Connections that were begun together fail together, and count as one.
      if (now() < failed.retryAt) return
      failed.retryAt = now() + Math.min(FIRST_PENALTY_MS * 2 ** failed.count, MAX_PENALTY_MS)
      failed.count++
    },
    recordSuccess(address, port) {
      failures.delete(keyOf(address, port))
    },
  }
}

function keyOf({ address }: Address, port: number): string {
  return `${address} ${port}`
}

function takeTurns(addresses: readonly Address[]): readonly Address[] {
  const first = addresses.filter(({ family }) => family === addresses[0]!.family)
  const second = addresses.filter((address) => !first.includes(address))
  const longest = Math.max(first.length, second.length)
  return Array.from({ length: longest }, (_, n) => [
    ...first.slice(n, n + 1),
    ...second.slice(n, n + 1),
  ]).flat()
}
