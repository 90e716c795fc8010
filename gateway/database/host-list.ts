import type { LookupFunction } from 'node:net'
import type { Scheduler } from '../core/scheduler.ts'
import type { DatabaseAddress, DatabaseHost } from './address.ts'
import { createHostProbe } from './host-probe.ts'

/** The host of a connection, and how often that host had failed when the connection was begun. */
export interface HostMark {
  /** Index of the host in the URL. */
  readonly host: number
  readonly failures: number
}

/** The hosts of the URL: which one is in use, and how each of them has failed. */
export interface HostList {
  /** The host in use, with its failures so far. */
  readonly current: HostMark
  readonly currentHost: DatabaseHost
  /**
   * True where the host in use did not answer in time, until it answers a probe. No connection to it is begun before
   * that: the connection could lead to a primary that was replaced, though the address leads to another server by now.
   */
  readonly isCurrentSilent: boolean
  isInUse(mark: Pick<HostMark, 'host'>): boolean
  /** True where the host has failed since: a connection from before that is not used again. */
  hasFailedSince(mark: HostMark): boolean
  /**
   * Counts a failure. Only a failure of the host in use moves on to the next one: a second move for the same outage
   * would lead back to the first of two hosts.
   *
   * @param isSilent true where the host did not answer in time
   * @returns true where it was the host in use
   */
  recordFailure(host: number, isSilent: boolean): boolean
  /** Asks whether the host in use answers; does nothing while such a probe is pending. */
  probeCurrent(): void
  stop(): void
}

export interface HostListParts {
  readonly address: Pick<DatabaseAddress, 'hosts' | 'tls'>
  readonly scheduler: Scheduler
  readonly lookup?: LookupFunction | undefined
  /** The probed host has answered just now. */
  readonly onAnswer: () => void
  /** The pause after a probe is over. @param answered whether the host had answered the probe */
  readonly onPauseOver: (answered: boolean) => void
}

export function createHostList(parts: HostListParts): HostList {
  const { hosts, tls } = parts.address
  const failures = hosts.map(() => 0)
  const silent = hosts.map(() => false)
  let current = 0
  let probed = 0

  function useNext(): void {
    current = (current + 1) % hosts.length
  }

  const probe = createHostProbe({
    scheduler: parts.scheduler,
    onAnswer() {
      silent[probed] = false
      parts.onAnswer()
    },
    onSilence: useNext,
    onPauseOver: parts.onPauseOver,
  })

  return {
    get current() {
      return { host: current, failures: failures[current]! }
    },
    get currentHost() {
      return hosts[current]!
    },
    get isCurrentSilent() {
      return silent[current]!
    },
    isInUse: ({ host }) => host === current,
    hasFailedSince: (mark) => mark.failures !== failures[mark.host],
    recordFailure(host, isSilent) {
      const wasInUse = host === current
      failures[host]!++
      silent[host] ||= isSilent
      if (wasInUse) useNext()
      return wasInUse
    },
    probeCurrent() {
      if (probe.isPending) return
      probed = current
      probe.start({ host: hosts[current]!, tls, lookup: parts.lookup })
    },
    stop: () => probe.stop(),
  }
}
