import { randomUUID } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { BlockList, isIP, type Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import type { Peer } from './headers.ts'

/** Whom the gateway believes about the client behind a connection. */
export interface PeerTrust {
  /** Worked out once per connection. */
  peerOf(socket: Socket): Peer
  /** True where the connection's other end is a trusted proxy. */
  isTrusted(socket: Socket): boolean
  /** From now on the other end of this connection is this client: a trusted balancer says so. */
  introduce(socket: Socket, address: string): void
  /** The scheme that the client itself speaks: a trusted proxy's `X-Forwarded-Proto`, else the connection's. */
  clientScheme(peer: Peer, req: IncomingMessage): 'http' | 'https'
  /** The client's address for the logs: the last hop of `X-Forwarded-For` that is not a trusted proxy. */
  clientAddress(peer: Peer, req: IncomingMessage): string
  /** A trusted proxy's `X-Request-Id` where it is usable, else a new one. */
  requestId(peer: Peer, req: IncomingMessage): string
}

/** Visible ASCII without quotes and commas: it goes into headers, logs and JSON. */
const USABLE_REQUEST_ID = /^[A-Za-z0-9._~:/+=@-]{1,128}$/

/** @param trusted CIDRs, validated */
export function createPeerTrust(trusted: readonly string[]): PeerTrust {
  const list = blockList(trusted)
  const peers = new WeakMap<Socket, Peer>()
  const introduced = new Map<string, string>()
  const isTrusted = (address: string) => {
    const family = isIP(address)
    return family !== 0 && list.check(address, family === 6 ? 'ipv6' : 'ipv4')
  }
  const remoteAddress = (socket: Socket) => plainAddress(socket.remoteAddress ?? '')

  return {
    peerOf(socket) {
      let peer = peers.get(socket)
      if (peer === undefined) {
        const client = introduced.size === 0 ? undefined : introduced.get(endsOf(socket))
        const address = client ?? remoteAddress(socket)
        const scheme = (socket as TLSSocket).encrypted ? 'https' : 'http'
        peer = { address, scheme, trusted: isTrusted(address) }
        peers.set(socket, peer)
      }
      return peer
    },
    isTrusted: (socket) => isTrusted(remoteAddress(socket)),
    introduce(socket, address) {
      // The TLS connection that will be made of it is another object with the same ends.
      const ends = endsOf(socket)
      introduced.set(ends, plainAddress(address))
      socket.once('close', () => introduced.delete(ends))
    },
    clientScheme(peer, req) {
      if (!peer.trusted) return peer.scheme
      const claimed = first(req.headers['x-forwarded-proto'])
      return claimed === 'https' || claimed === 'http' ? claimed : peer.scheme
    },
    clientAddress(peer, req) {
      const chain = peer.trusted ? req.headers['x-forwarded-for'] : undefined
      if (typeof chain !== 'string') return peer.address
      const hops = chain.split(',').map((hop) => plainAddress(hop.trim()))
      return (
        hops.findLast((hop) => isIP(hop) !== 0 && !isTrusted(hop)) ??
        hops.find((hop) => isIP(hop) !== 0) ??
        peer.address
      )
    },
    requestId(peer, req) {
      const claimed = peer.trusted ? req.headers['x-request-id'] : undefined
      return typeof claimed === 'string' && USABLE_REQUEST_ID.test(claimed) ? claimed : randomUUID()
    },
  }
}

function first(value: string | string[] | undefined): string | undefined {
  const text = Array.isArray(value) ? value[0] : value
  return text?.split(',', 1)[0]?.trim().toLowerCase()
}

/** Tells an open connection from all others. */
function endsOf({ remoteAddress, remotePort, localAddress, localPort }: Socket): string {
  return `${remoteAddress} ${remotePort} ${localAddress} ${localPort}`
}

/** A dual-stack listener tells of IPv4 clients as `::ffff:a.b.c.d`. */
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
