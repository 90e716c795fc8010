import { MAX_ADDRESSES_MS } from '../../names/address-cache.ts'
import { type Connector, createConnector } from './connector.ts'
import { Http1Connections } from './http1-connections.ts'
import { Http2Connections } from './http2-connections.ts'
import { hasName, parseTargetAddress } from './target-address.ts'
import type { TargetConnections, TargetOptions } from './target-connections.ts'
import type { Transport } from './transport.ts'

/** @throws the file system's error where a TLS file cannot be read */
export function createTargetConnector(
  { url, http2, tls }: Pick<TargetOptions, 'url' | 'http2' | 'tls'>,
  transport: Transport,
): Connector {
  const protocols = http2 ? ['h2', 'http/1.1'] : ['http/1.1']
  return createConnector({ address: parseTargetAddress(url), tls, protocols }, transport)
}

/**
 * Opens nothing yet; connections are made as exchanges need them and are kept for the next ones.
 *
 * @param connector of this target. @throws the file system's error where it is made here and a TLS file cannot be read
 */
export function createTargetConnections(
  options: TargetOptions,
  transport: Transport,
  connector: Connector = createTargetConnector(options, transport),
): TargetConnections {
  const address = parseTargetAddress(options.url)
  // A name's connections are made anew as often as its addresses are, or they would stay with the old ones.
  const maxAgeMs = hasName(address) ? MAX_ADDRESSES_MS : Number.POSITIVE_INFINITY
  if (options.http2) {
    const { keepAlive = true, onMorePlaces = () => {} } = options
    const { origin } = address
    return new Http2Connections({
      ...options,
      keepAlive,
      onMorePlaces,
      origin,
      maxAgeMs,
      connector,
      transport,
    })
  }
  return new Http1Connections(options, { transport, connector, maxAgeMs })
}
