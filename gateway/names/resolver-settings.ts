import { isIP } from 'node:net'

/** What `/etc/resolv.conf` says (resolv.conf(5)). */
export interface ResolverSettings {
  /** As `Resolver.setServers` takes them; null where c-ares is to find them itself. */
  readonly servers: readonly string[] | null
  /** Domains, without a dot at their end. The empty text is the root. */
  readonly search: readonly string[]
  /** A name with this many dots is asked for as it is before it is searched for. */
  readonly ndots: number
  /** How long the first question may remain without an answer before it is asked again. */
  readonly timeoutMs: number
  /** False where the option `no-aaaa` is set. */
  readonly asksIPv6: boolean
}

/** The C library uses no more. */
const MAX_SERVERS = 3

/** The C library waits 5 s; a lost packet would then outlast the time that most connections may take. */
const TIMEOUT_MS = 1000

/**
 * @param text null where there is no such file
 * @param hostname this machine's, whose domain is searched where the file names none
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
    // The last line of the two kinds counts; the lines of options add up.
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

/** With a port, too, as c-ares reads the file: `127.0.0.1:5353` or `[::1]:5353`. */
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

/** One of the names that a name may stand for. */
export interface Candidate {
  readonly name: string
  /** True for the name as it was given. */
  readonly asGiven: boolean
}

/**
 * The names to ask for, one after the other, in the order of the C library. A dot at the end makes a name absolute.
 *
 * @param name in lower case
 */
export function candidatesOf(name: string, { search, ndots }: ResolverSettings): readonly Candidate[] {
  if (name.endsWith('.')) return [{ name: name.slice(0, -1), asGiven: true }]
  const asGiven = { name, asGiven: true }
  const dots = name.split('.').length - 1
  const first = dots >= ndots
  // The root among the domains stands for the name as it is, in that place.
  const searched = search.map((domain) =>
    domain === '' ? asGiven : { name: `${name}.${domain}`, asGiven: false },
  )
  if (first) return [asGiven, ...searched.filter((each) => !each.asGiven)]
  return searched.some((each) => each.asGiven) ? searched : [...searched, asGiven]
}
