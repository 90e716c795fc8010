import { isIP } from 'node:net'
import type { Address, Family } from './address.ts'

/** Addresses by name, in the order of the file. Names are in lower case, without a dot at the end. */
export type Hosts = ReadonlyMap<string, readonly Address[]>

/**
 * Parses `/etc/hosts` (hosts(5)): each line holds an address and one or more names; `#` begins a comment.
 *
 * @param text null where the file is missing
 */
export function parseHosts(text: string | null): Hosts {
  const hosts = new Map<string, Address[]>()
  for (const line of (text ?? '').split('\n')) {
    const [address = '', ...names] = line.replace(/#.*/, '').trim().split(/\s+/)
    const family = isIP(address)
    if (family === 0) continue
    for (const name of names) {
      const key = name.toLowerCase().replace(/\.$/, '')
      const known = hosts.get(key)
      if (known === undefined) hosts.set(key, [{ address, family: family as Family }])
      else if (known.every((each) => each.address !== address)) {
        known.push({ address, family: family as Family })
      }
    }
  }
  return hosts
}

const LOOPBACK: readonly Address[] = [
  { address: '127.0.0.1', family: 4 },
  { address: '::1', family: 6 },
]

/**
 * The addresses that a name has without a name server. `localhost` and the names below it always have the loopback
 * addresses (RFC 6761, section 6.3), even if the file does not contain them.
 *
 * @param name in lower case, without a dot at the end
 * @returns null where name servers have to be asked
 */
export function hostsAddresses(hosts: Hosts, name: string): readonly Address[] | null {
  const listed = hosts.get(name)
  if (listed !== undefined) return listed
  return name === 'localhost' || name.endsWith('.localhost') ? LOOPBACK : null
}
