import { isIP } from 'node:net'

/** The settings in `/etc/resolv.conf` (resolv.conf(5)). */
export interface ResolverSettings {
  /** In the form of `Resolver.setServers`; null where c-ares is to find the servers itself. */
  readonly servers: readonly string[] | null
  /** The search domains, without a dot at the end. The empty string is the root domain. */
  readonly search: readonly string[]
  /** A name with at least this many dots is looked up as given before the search domains are tried. */
  readonly ndots: number
  /** How long to wait for an answer to the first query before it is repeated. */
  readonly timeoutMs: number
  /** False where the option `no-aaaa` is set. */
  readonly asksIPv6: boolean
}

/** As many as the C library uses. */
const MAX_SERVERS = 3

/**
 * The default of the C library is 5 s. A lost packet would then delay a look-up for longer than most connections may
 * take.
 */
const TIMEOUT_MS = 1000

/**
 * @param text null where the file is missing
 * @param hostname the name of this machine; its domain is searched where the file names none
 */
export function parseResolverSettings(text: string | null, hostname: string): ResolverSettings {
  const servers: string[] = []
  let search: readonly string[] | null = null
  let options: readonly string[] = []
  for (const line of (text ?? '').split('\n')) {
    const [keyword, ...values] = line
      .replace(/[#;].*/, '')
      .trim()
      .split(/\s+/)
    const [value = ''] = values
    if (keyword === 'nameserver' && isServer(value)) servers.push(value)
    // Of all "search" and "domain" lines the last one counts. Several "options" lines are added up.
    else if (keyword === 'search' && values.length > 0) search = values.map(domainOf)
    else if (keyword === 'domain' && values.length > 0) search = [domainOf(value)]
    else if (keyword === 'options') options = [...options, ...values]
  }
  const own = hostname.includes('.') ? [domainOf(hostname.slice(hostname.indexOf('.') + 1))] : []
  return {
    servers: text === null ? null : servers.length === 0 ? ['127.0.0.1'] : servers.slice(0, MAX_SERVERS),
    search: search ?? own,
    ndots: numberOf(options, 'ndots', 15) ?? 1,
    timeoutMs: secondsOf(options) ?? TIMEOUT_MS,
    asksIPv6: !options.includes('no-aaaa'),
  }
}

/** Accepts a port as well, like c-ares: `127.0.0.1:5353` or `[::1]:5353`. */
function isServer(text: string): boolean {
  const withPort = /^(?:\[(.+)\]|([\d.]+)):\d{1,5}$/.exec(text)
  return isIP(withPort?.[1] ?? withPort?.[2] ?? text) !== 0
}

function domainOf(text: string): string {
  return text.toLowerCase().replace(/\.$/, '')
}

function numberOf(options: readonly string[], name: string, max: number): number | null {
  const prefix = `${name}:`
  const text = options.findLast((each) => each.startsWith(prefix))?.slice(prefix.length)
  return text === undefined || !/^\d+$/.test(text) ? null : Math.min(Number(text), max)
}

function secondsOf(options: readonly string[]): number | null {
  const seconds = numberOf(options, 'timeout', 30)
  return seconds === null ? null : Math.max(seconds, 1) * 1000
}

/** One of the full names that a name may stand for. */
export interface Candidate {
  readonly name: string
  /** True for the name as it was given. */
  readonly asGiven: boolean
}

/**
 * The names to look up one after the other, in the order of the C library. A name with a dot at the end is absolute:
 * no search domain is added to it.
 *
 * @param name in lower case
 */
export function candidatesOf(name: string, { search, ndots }: ResolverSettings): readonly Candidate[] {
  if (name.endsWith('.')) return [{ name: name.slice(0, -1), asGiven: true }]
  const asGiven = { name, asGiven: true }
  const dots = name.split('.').length - 1
  const first = dots >= ndots
  // The root domain in the list means that the name is tried as given at that place.
  const searched = search.map((domain) =>
    domain === '' ? asGiven : { name: `${name}.${domain}`, asGiven: false },
  )
  if (first) return [asGiven, ...searched.filter((each) => !each.asGiven)]
  return searched.some((each) => each.asGiven) ? searched : [...searched, asGiven]
}
