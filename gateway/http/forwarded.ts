import { randomUUID } from 'node:crypto'
import { BlockList, isIP } from 'node:net'
import { addressOfHop, clientOf, plainAddress, readForwarded, schemeOf } from './forwarded-field.ts'
import type { Peer } from './headers.ts'
import type { RequestHead } from './request-head.ts'

/** A connection, as `node:net` names its other end; `encrypted` as `node:tls` does. */
export interface ConnectionEnds {
  readonly remoteAddress?: string | undefined
  readonly remotePort?: number | undefined
  readonly encrypted?: boolean
}

/** What a load balancer says of the client of a connection by the PROXY protocol. */
export interface ProxiedClient {
  /** Null where the balancer itself is the peer. */
  readonly address: string | null
  /** True where the client speaks TLS, which the balancer ends. */
  readonly encrypted: boolean
  /** The name that the client has asked the balancer for (SNI); null where it is not told. */
  readonly serverName: string | null
}

type NamedFields = Pick<RequestHead, 'headers'>

/** Decides which peers are trusted proxies, and reads the client from their fields. */
export interface PeerTrust {
  /** Computed once for each connection. */
  peerOf(socket: ConnectionEnds): Peer
  /** True where the connection comes from a trusted proxy. */
  isTrusted(socket: ConnectionEnds): boolean
  /** Treats this client as the peer of the connection. Called with what a trusted load balancer says. */
  assignClient(socket: ConnectionEnds, client: ProxiedClient): void
  /** Treats a connection that was made by a TLS handshake as one of the peer that `carrier` is from. */
  adoptClient(secure: ConnectionEnds, carrier: ConnectionEnds): void
  /**
   * The scheme that the client used: `X-Forwarded-Proto` of a trusted proxy, or its `Forwarded` where it sends none of
   * `X-Forwarded-For`, `-Proto` and `-Host`; otherwise the connection's scheme.
   */
  clientScheme(peer: Peer, head: NamedFields): 'http' | 'https'
  /** The client's address for the logs: the last one in the same fields that is not a trusted proxy's. */
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
  // By connection: addresses and ports may be those of an earlier one whose end was not noticed yet.
  const clients = new WeakMap<ConnectionEnds, ProxiedClient>()
  const isTrusted = (address: string) => {
    const family = isIP(address)
    return family !== 0 && list.check(address, family === 6 ? 'ipv6' : 'ipv4')
  }

  return {
    peerOf(socket) {
      let peer = peers.get(socket)
      if (peer === undefined) {
        const client = clients.get(socket)
        const address = plainAddress(client?.address ?? socket.remoteAddress ?? '')
        const scheme = socket.encrypted === true || client?.encrypted === true ? 'https' : 'http'
        const serverName = client?.serverName ?? null
        peer = { address, scheme, serverName, trusted: isTrusted(address), isProxy: isTrusted }
        peers.set(socket, peer)
      }
      return peer
    },
    isTrusted: (socket) => isTrusted(plainAddress(socket.remoteAddress ?? '')),
    assignClient(socket, client) {
      clients.set(socket, client)
    },
    adoptClient(secure, carrier) {
      const client = clients.get(carrier)
      if (client !== undefined) clients.set(secure, client)
    },
    clientScheme(peer, head) {
      if (!peer.trusted) return peer.scheme
      const { headers } = head
      const field = forwardedOf(headers)
      const told =
        field === undefined
          ? schemeOf(textOf(headers['x-forwarded-proto'])?.split(',', 1)[0]?.trim())
          : readForwarded(field, isTrusted)?.scheme
      return told ?? peer.scheme
    },
    clientAddress(peer, head) {
      if (!peer.trusted) return peer.address
      const { headers } = head
      const field = forwardedOf(headers)
      const told =
        field === undefined
          ? clientOf(hopsOf(textOf(headers['x-forwarded-for'])), isTrusted)
          : readForwarded(field, isTrusted)?.address
      return told ?? peer.address
    },
    requestId(peer, head) {
      const claimed = peer.trusted ? head.headers['x-request-id'] : undefined
      return typeof claimed === 'string' && USABLE_REQUEST_ID.test(claimed) ? claimed : randomUUID()
    },
  }
}

/**
 * `Forwarded`, where it counts: without the older fields beside it. A proxy that sets some of these, and does not know
 * this one, passes on what its client put there.
 */
function forwardedOf(headers: NamedFields['headers']): string | undefined {
  const isAlone =
    headers['x-forwarded-for'] === undefined &&
    headers['x-forwarded-proto'] === undefined &&
    headers['x-forwarded-host'] === undefined
  return isAlone ? textOf(headers.forwarded) : undefined
}

function hopsOf(chain: string | undefined): (string | null)[] {
  return chain === undefined ? [] : chain.split(',').map((hop) => addressOfHop(hop.trim()))
}

function textOf(value: string | readonly string[] | undefined): string | undefined {
  return typeof value === 'object' ? value.join(', ') : value
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
