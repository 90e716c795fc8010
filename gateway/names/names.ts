import { isIP, type LookupFunction } from 'node:net'
import { hostname } from 'node:os'
import { domainToASCII } from 'node:url'
import type { Log } from '../core/log.ts'
import type { Scheduler } from '../core/scheduler.ts'
import type { Address, Family, Resolve } from './address.ts'
import { createAddressBook } from './address-cache.ts'
import { hostsAddresses, parseHosts } from './hosts-file.ts'
import { createNameServers } from './name-servers.ts'
import { hasFurtherSources } from './name-service-switch.ts'
import { parseResolverSettings } from './resolver-settings.ts'
import { createSystemLookup } from './system-lookup.ts'
import { createWatchedFile } from './watched-file.ts'

/** How names become addresses, for everything that a process connects to. */
export interface Names {
  /** As an option of `net.connect`, `tls.connect`, an `Agent` of `node:http`, or a connector of undici. */
  readonly lookup: LookupFunction
  /** Gives up the questions under way, which would keep the process alive. */
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
  /** This machine's. */
  readonly hostname: string
  /** Where neither the hosts file nor a name server knows a name that getaddrinfo may know. */
  readonly resolveBySystem: Resolve
}

/** By this system's files. One for each process. */
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
    resolveBySystem: createSystemLookup(),
  })
}

/**
 * getaddrinfo holds one of libuv's four threads until the resolver has answered: four names without an answer would
 * leave no thread for any other name, nor for the signatures of tokens. This asks the name servers itself.
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
  const furtherSources = createWatchedFile({
    path: files.nameServiceSwitch,
    parse: (text) => hasFurtherSources(text, platform),
    now,
  })
  const servers = createNameServers({ settings: settings.current, scheduler })
  const book = createAddressBook({ resolve, scheduler, log })
  let closed = false

  async function resolve(name: string): ReturnType<Resolve> {
    const byServers = await servers.resolve(name)
    const isSettled = byServers.kind === 'found' || (byServers.kind === 'failed' && byServers.silent)
    if (isSettled || closed || !furtherSources.current()) return byServers
    const bySystem = await parts.resolveBySystem(name)
    return bySystem.kind === 'none' ? byServers : bySystem
  }

  async function addressesOf(host: string, family: 0 | Family): Promise<readonly Address[]> {
    const literal = isIP(host)
    if (literal !== 0) return [{ address: host, family: literal as Family }]
    const name = asciiName(host)
    const listed = hostsAddresses(hosts.current(), name.replace(/\.$/, ''))
    const usable = listed?.filter((each) => family === 0 || each.family === family) ?? []
    return usable.length > 0 ? usable : book.addressesOf(name, family)
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
    close() {
      closed = true
      servers.close()
    },
  }
}

/** In lower case; international names in the form that name servers know. */
function asciiName(host: string): string {
  const name = /[^ -~]/.test(host) ? domainToASCII(host) : host
  return name.toLowerCase()
}

function familyOf(family: number | 'IPv4' | 'IPv6' | undefined): 0 | Family {
  if (family === 4 || family === 'IPv4') return 4
  return family === 6 || family === 'IPv6' ? 6 : 0
}
