import type { KeyRing } from '../auth/jwt/key-ring.ts'
import type { TokenStoreMonitor } from '../auth/token-store/token-store-monitor.ts'
import { type Readiness, type ReadinessCause, readinessFrom } from '../core/readiness.ts'

const DRAINING = 'the instance is draining: it has received a signal to end'

const NO_KEYS =
  'there is no key yet to verify tokens with, since the key set could not be fetched; look at JWT_JWKS_URL and the log'

/** @returns whether this process can decide about requests now, and if not, the causes */
export function instanceReadiness({
  draining,
  store,
  keys,
}: {
  readonly draining: boolean
  readonly store: Pick<TokenStoreMonitor, 'fault'>
  readonly keys: Pick<KeyRing, 'state'>
}): Readiness {
  const causes: ReadinessCause[] = []
  if (draining) causes.push({ reason: 'draining', cause: DRAINING })
  if (keys.state === 'none') causes.push({ reason: 'keys', cause: NO_KEYS })
  if (store.fault !== null) {
    const reason = store.fault.code === 'FENCED' ? 'fenced' : 'token_store'
    causes.push({ reason, cause: store.fault.cause })
  }
  return readinessFrom(causes)
}
