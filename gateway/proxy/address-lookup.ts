import { lookup as systemLookup } from 'node:dns/promises'
import type { LookupFunction } from 'node:net'

/** An address as `node:dns` tells it. */
export interface Address {
  readonly address: string
  readonly family: number
}

export interface AddressLookupParts {
  /** All addresses of a name. @throws where there is none or nobody to ask */
  readonly resolve: (hostname: string) => Promise<readonly Address[]>
  /** Milliseconds, monotonic. */
  readonly now: () => number
}

/** The system's resolver, `/etc/hosts` included, tells no time to live; this is how long its answers count. */
export const ADDRESSES_MS = 30_000

interface Known {
  addresses: readonly Address[]
  until: number
  asking: Promise<readonly Address[]> | null
  turn: number
}

/** @throws the resolver's error */
export function resolveBySystem(hostname: string): Promise<readonly Address[]> {
  return systemLookup(hostname, { all: true, order: 'verbatim' })
}

/**
 * A `lookup` for `node:net`: each connection begins with the next of a name's addresses, so that all of them are
 * used, and the others follow should that one not answer. Addresses are asked for again every 30 s. A resolver
 * that fails does not take a target down whose addresses were known: they are kept until it answers again.
 */
export function createAddressLookup({ resolve, now }: AddressLookupParts): LookupFunction {
  const names = new Map<string, Known>()

  function ask(hostname: string, known: Known): Promise<readonly Address[]> {
    known.asking ??= resolve(hostname)
      .catch((error: unknown) => {
        if (known.addresses.length === 0) throw error
        return known.addresses
      })
      .then((addresses) => {
        known.addresses = addresses
        known.until = now() + ADDRESSES_MS
        return addresses
      })
      .finally(() => {
        known.asking = null
      })
    return known.asking
  }

  async function next(hostname: string, family: number): Promise<readonly Address[]> {
    let known = names.get(hostname)
    if (known === undefined) {
      known = { addresses: [], until: 0, asking: null, turn: 0 }
      names.set(hostname, known)
    }
    const all =
      known.addresses.length > 0 && now() < known.until ? known.addresses : await ask(hostname, known)
    const usable = family === 0 ? all : all.filter((each) => each.family === family)
    if (usable.length === 0)
      throw Object.assign(new Error(`no address of ${hostname}`), { code: 'ENOTFOUND' })
    const first = known.turn++ % usable.length
    return [...usable.slice(first), ...usable.slice(0, first)]
  }

  return (hostname, options, callback) => {
    const family = options.family === 'IPv4' ? 4 : options.family === 'IPv6' ? 6 : (options.family ?? 0)
    next(hostname, family).then(
      (addresses) => {
        if (options.all === true) callback(null, [...addresses])
        else callback(null, addresses[0]!.address, addresses[0]!.family)
      },
      (error: NodeJS.ErrnoException) => callback(error, '', 0),
    )
  }
}
