import { isIP, type LookupFunction } from 'node:net'
import { hostname } from 'node:os'
import { domainToASCII } from 'node:url'
import type { Log } from '../core/log.ts'
import type { Scheduler } from '../core/scheduler.ts'
import type { Address, Family, FindAddresses, FoundAddresses, Resolve } from './address.ts'
import { createAddressCache } from './address-cache.ts'
import { hostsAddresses, parseHosts } from './hosts-file.ts'
import { createNameServers } from './name-servers.ts'
import { hasOtherSources } from './name-service-switch.ts'
import { parseResolverSettings } from './resolver-settings.ts'
import { createSystemLookup } from './system-lookup.ts'
import { createWatchedFile } from './watched-file.ts'

/** Resolves the names of everything that a process connects to. */
export interface Names {
  /** To be passed to `net.connect`, `tls.connect`, an `Agent` of `node:http`, or a connector of undici. */
  readonly lookup: LookupFunction
  /** For who tries the addresses of a name himself. */
  readonly findAddresses: FindAddresses
  /** Looks a name up that will be needed, so that its addresses are known by then. */
  prepare(host: string): void
  /** Cancels the queries under way, which would keep the process alive. */
  close(): void
}

export interface NamesParts {
  readonly scheduler: Scheduler
  readonly log: Log
  readonly files: {
    readonly hosts: string
    readonly resolverSettings: string
    readonly nameServiceSwitch: string
  }
  readonly platform: NodeJS.Platform
  /** The name of this machine. */
  readonly hostname: string
  /** Asks getaddrinfo, for names that it may know from other sources than the hosts file and name servers. */
  readonly resolveBySystem: Resolve
}

/** Resolves names by the files of this system. Made once in each process. */
export function createSystemNames({ scheduler, log }: Pick<NamesParts, 'scheduler' | 'log'>): Names {
  return createNames({
    scheduler,
    log,
    platform: process.platform,
    hostname: hostname(),
    files: {
      hosts: process.platform === 'win32' ? 'C:\\Windows\\System32\\drivers\\etc\\hosts' : '/etc/hosts',
      resolverSettings: '/etc/resolv.conf',
      nameServiceSwitch: '/etc/nsswitch.conf',
    },
    resolveBySystem: createSystemLookup(scheduler),
  })
}

/**
 * Queries the name servers itself, because getaddrinfo holds one of libuv's four threads until the resolver has
 * answered. Four names without an answer would leave no thread for other names or for the signatures of tokens.
 */
export function createNames(parts: NamesParts): Names {
  const { scheduler, log, files, platform } = parts
  const { now } = scheduler
  const hosts = createWatchedFile({ path: files.hosts, parse: parseHosts, now })
  const settings = createWatchedFile({
    path: files.resolverSettings,
    parse: (text) => parseResolverSettings(text, parts.hostname),
    now,
  })
  const otherSources = createWatchedFile({
    path: files.nameServiceSwitch,
    parse: (text) => hasOtherSources(text, platform),
    now,
  })
  const servers = createNameServers({ settings: settings.current, scheduler })
  const cache = createAddressCache({ resolve, scheduler, log })
  let closed = false

  async function resolve(name: string): ReturnType<Resolve> {
    const byServers = await servers.resolve(name)
    const isFinal = byServers.kind === 'found' || (byServers.kind === 'failed' && byServers.silent)
    if (isFinal || closed || !otherSources.current()) return byServers
    const bySystem = await parts.resolveBySystem(name)
    return bySystem.kind === 'none' ? byServers : bySystem
  }

  /** Those of an address itself, or of a name in the hosts file. */
  function localAddresses(name: string, family: 0 | Family): readonly Address[] {
    const literal = isIP(name)
    if (literal !== 0) return [{ address: name, family: literal as Family }]
    const listed = hostsAddresses(hosts.current(), name.replace(/\.$/, '')) ?? []
    return listed.filter((each) => family === 0 || each.family === family)
  }

  async function addressesOf(host: string, family: 0 | Family): Promise<readonly Address[]> {
    const name = asciiName(host)
    const local = localAddresses(name, family)
    return local.length > 0 ? local : cache.addressesOf(name, family)
  }

  async function findAddresses(host: string): Promise<FoundAddresses> {
    const name = asciiName(host)
    const local = localAddresses(name, 0)
    return local.length > 0 ? { addresses: local, later: null } : cache.find(name)
  }

  return {
    lookup(host, options, callback) {
      addressesOf(host, familyOf(options.family)).then(
        (addresses) => {
          if (options.all === true) callback(null, [...addresses])
          else callback(null, addresses[0]!.address, addresses[0]!.family)
        },
        (error: NodeJS.ErrnoException) => callback(error, '', 0),
      )
    },
    findAddresses,
    prepare(host) {
      const name = asciiName(host)
      if (localAddresses(name, 0).length === 0) cache.prepare(name)
    },
    close() {
      closed = true
      servers.close()
    },
  }
}

/** In lower case, and international names in the ASCII form that name servers use. */
function asciiName(host: string): string {
  const name = /[^ -~]/.test(host) ? domainToASCII(host) : host
  return name.toLowerCase()
}

function familyOf(family: number | 'IPv4' | 'IPv6' | undefined): 0 | Family {
  if (family === 4 || family === 'IPv4') return 4
  return family === 6 || family === 'IPv6' ? 6 : 0
}
