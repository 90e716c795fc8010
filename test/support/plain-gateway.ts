import type { Test } from 'tap'
import { startGateway, type TestGateway } from './gateway.ts'

/** Routes without authentication never ask it, so it need not be there. */
export const NO_DATABASE = 'postgres://gateway@127.0.0.1:1/none'

/** A routing file with one upstream `api` behind `/`, without authentication. */
export function plainRouting(targets: readonly (string | object)[], upstream: Record<string, unknown> = {}) {
  return {
    upstreams: { api: { targets, balance: 'round-robin', ...upstream } },
    routes: [{ path: '/', upstream: 'api', auth: 'none' }],
  }
}

export interface PlainGateway {
  readonly targets: readonly (string | object)[]
  readonly upstream?: Record<string, unknown>
  readonly env?: Readonly<Record<string, string>>
}

/** A gateway in front of one upstream; it ends with the test. */
export async function plainGateway(t: Test, { targets, upstream, env }: PlainGateway): Promise<TestGateway> {
  const gateway = await startGateway({
    databaseUrl: NO_DATABASE,
    routing: plainRouting(targets, upstream),
    env: { ACCESS_LOG: 'off', ...env },
  })
  t.teardown(() => gateway.stop())
  return gateway
}

/** Asks again until it holds; for what happens in another process without telling. */
export async function until(
  holds: () => Promise<boolean> | boolean,
  withinMs = 60_000,
  everyMs = 20,
): Promise<void> {
  const end = performance.now() + withinMs
  while (!(await holds())) {
    if (performance.now() > end) throw new Error('it did not come to hold in time')
    await new Promise((resolve) => setTimeout(resolve, everyMs))
  }
}
