import { createConnector } from './connector.ts'
import { parseTargetAddress } from './target-address.ts'
import type { Transport } from './transport.ts'
import { UpgradeAttempt } from './upgrade-attempt.ts'
import type { UpgradeAttempts, UpgradeTarget } from './upgrade-attempts.ts'

/**
 * Forwards WebSocket handshakes to one target, each on a connection of its own.
 *
 * @throws the file system's error where a TLS file cannot be read
 */
export function createUpgradeAttempts(target: UpgradeTarget, transport: Transport): UpgradeAttempts {
  const address = parseTargetAddress(target.url)
  const connector = createConnector({ address, tls: target.tls, protocols: ['http/1.1'] }, transport)
  return {
    forward: (request, onOpen) =>
      new Promise((resolve) => {
        new UpgradeAttempt({ target, transport, connector, request, onOpen, onOutcome: resolve })
      }),
  }
}
