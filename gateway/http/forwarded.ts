import { randomUUID } from 'node:crypto'
import { BlockList, isIP } from 'node:net'
import type { Peer } from './headers.ts'
import type { RequestHead } from './request-head.ts'

/** The two ends of a connection, as `node:net` names them; `encrypted` as `node:tls` does. */
export interface ConnectionEnds {
  readonly remoteAddress?: string | undefined
  readonly remotePort?: number | undefined
  readonly localAddress?: string | undefined
  readonly localPort?: number | undefined
  readonly encrypted?: boolean
}

/** A connection that emits `close` when it has closed. */
export interface ClosingConnection extends ConnectionEnds {
  once(event: 'close', listener: () => void): unknown
}

type NamedFields = Pick<RequestHead, 'headers'>

/** Decides which peers are trusted proxies, and reads the client from their fields. */
export interface PeerTrust {
  /** Computed once for each connection. */
  peerOf(socket: ConnectionEnds): Peer
  /** True where the connection comes from a trusted proxy. */
  isTrusted(socket: ConnectionEnds): boolean
  /**
   * Treats `address` as the peer of this connection from now on. Called with the client's address from the PROXY
   * protocol header of a trusted load balancer.
   */
  assignClient(socket: ClosingConnection, address: string): void
  /** The scheme that the client used: `X-Forwarded-Proto` of a trusted proxy, otherwise the connection's scheme. */
  clientScheme(peer: Peer, head: NamedFields): 'http' | 'https'
  /** The client's address for the logs: the last address in `X-Forwarded-For` that is not a trusted proxy's. */
  clientAddress(peer: Peer, head: NamedFields): string
  /** `X-Request-Id` of a trusted proxy where it is usable, otherwise a new id. */
  requestId(peer: Peer, head: NamedFields): string
}

/** No quotes, commas or spaces, because the id is written into headers, logs and JSON. */
const USABLE_REQUEST_ID = /^[A-Za-z0-9._~:/+=@-]{1,128}$/

/** @param trusted valid CIDRs */
export function createPeerTrust(trusted: readonly string[]): PeerTrust {
  const list = blockList(trusted)
  const peers = new WeakMap<ConnectionEnds, Peer>()
  const assignedClients = new Map<string, string>()
  const isTrusted = (address: string) => {
    const family = isIP(address)
    return family !== 0 && list.check(address, family === 6 ? 'ipv6' : 'ipv4')
  }
  const remoteAddress = (socket: ConnectionEnds) => plainAddress(socket.remoteAddress ?? '')

  return {
    peerOf(socket) {
      let peer = peers.get(socket)
      if (peer === undefined) {
        const client = assignedClients.size === 0 ? undefined : assignedClients.get(connectionKey(socket))
        const address = client ?? remoteAddress(socket)
        const scheme = socket.encrypted === true ? 'https' : 'http'
        peer = { address, scheme, trusted: isTrusted(address) }
        peers.set(socket, peer)
      }
      return peer
    },
    isTrusted: (socket) => isTrusted(remoteAddress(socket)),
    assignClient(socket, address) {
      // Kept by addresses and ports, since a TLS handshake will wrap this socket in another object.
      const key = connectionKey(socket)
      assignedClients.set(key, plainAddress(address))
      socket.once('close', () => assignedClients.delete(key))
    },
    clientScheme(peer, head) {
      if (!peer.trusted) return peer.scheme
      const claimed = firstValue(head.headers['x-forwarded-proto'])
      return claimed === 'https' || claimed === 'http' ? claimed : peer.scheme
    },
    clientAddress(peer, head) {
      const chain = peer.trusted ? head.headers['x-forwarded-for'] : undefined
      if (typeof chain !== 'string') return peer.address
      const hops = chain.split(',').map((hop) => plainAddress(hop.trim()))
      return (
        hops.findLast((hop) => isIP(hop) !== 0 && !isTrusted(hop)) ??
        hops.find((hop) => isIP(hop) !== 0) ??
        peer.address
      )
    },
    requestId(peer, head) {
      const claimed = peer.trusted ? head.headers['x-request-id'] : undefined
      return typeof claimed === 'string' && USABLE_REQUEST_ID.test(claimed) ? claimed : randomUUID()
    },
  }
}

function firstValue(value: string | readonly string[] | undefined): string | undefined {
  const text = typeof value === 'string' ? value : value?.[0]
  return text?.split(',', 1)[0]?.trim().toLowerCase()
}

/** Unique among open connections. */
function connectionKey({ remoteAddress, remotePort, localAddress, localPort }: ConnectionEnds): string {
  return `${remoteAddress} ${remotePort} ${localAddress} ${localPort}`
}

/** A dual-stack listener reports the addresses of IPv4 clients as `::ffff:a.b.c.d`. */
function plainAddress(address: string): string {
  return address.startsWith('::ffff:') && address.includes('.') ? address.slice('::ffff:'.length) : address
}

function blockList(cidrs: readonly string[]): BlockList {
  const list = new BlockList()
  for (const cidr of cidrs) {
    const [address = '', prefix] = cidr.split('/')
    const family = isIP(address) === 6 ? 'ipv6' : 'ipv4'
    list.addSubnet(address, Number(prefix ?? (family === 'ipv6' ? 128 : 32)), family)
  }
  return list
}
