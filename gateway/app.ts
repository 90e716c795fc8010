import { readFileSync } from 'node:fs'
import type { AddressInfo, Server } from 'node:net'
import { createAuthenticator } from './auth/authenticator.ts'
import { createDatabase } from './auth/database.ts'
import { createNegativeCache } from './auth/negative-cache.ts'
import { createTokenLookup } from './auth/token-lookup.ts'
import { createTokenStoreMonitor } from './auth/token-store-monitor.ts'
import { createTokenTable } from './auth/token-table.ts'
import type { TokenVerifier } from './auth/token-verifier.ts'
import { createDecider } from './decision.ts'
import { createOwnEndpoints, type Readiness } from './endpoints.ts'
import { createForwarder } from './forwarding.ts'
import { createGateway } from './gateway.ts'
import { createAccessLog } from './ops/access-log.ts'
import { createAdminServer } from './ops/admin-server.ts'
import { createDrain } from './ops/drain.ts'
import type { Logger } from './ops/logger.ts'
import type { Metrics } from './ops/metrics.ts'
import { createPublicServer } from './ops/public-server.ts'
import { createPeerTrust } from './proxy/forwarded.ts'
import type { Settings } from './settings.ts'

/** What the command line hands to an instance of the gateway. */
export interface AppParts {
  readonly settings: Settings
  readonly databaseUrl: string
  readonly verifier: TokenVerifier
  readonly config: UpstreamsConfig
  readonly metrics: Metrics
  readonly log: Logger
}
