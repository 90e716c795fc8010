import { mkdtemp, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { SECRET } from '../database.ts'
import { findFreePort, nodeCommand, startProcess, waitUntil } from '../processes.ts'
import type { Contender, Stage, StartedContender } from './contender.ts'

export interface GatewayOptions {
  readonly auth?: 'required' | 'none'
  /** Further fields of the upstream in the routing file. */
  readonly upstream?: Readonly<Record<string, unknown>>
  readonly env?: Readonly<Record<string, string>>
  /** MiB, in place of what `npm start` gives it. */
  readonly semiSpace?: number
}

export interface StartedGateway extends StartedContender {
  readonly adminPort: number
}

const MAIN = new URL('../../gateway/main.ts', import.meta.url)

/** The gateway as `npm start` runs it. */
export async function startGateway(stage: Stage, options: GatewayOptions = {}): Promise<StartedGateway> {
  const [port, adminPort] = [await findFreePort(), await findFreePort()]
  const folder = await mkdtemp(join(stage.folder, 'gateway-'))
  const upstreamsFile = join(folder, 'upstreams.json')
  const routing = {
    upstreams: { backend: { targets: [`http://127.0.0.1:${stage.backendPort}`], ...options.upstream } },
    routes: [{ path: '/', upstream: 'backend', auth: options.auth ?? 'required' }],
  }
  await writeFile(upstreamsFile, JSON.stringify(routing))
  const running = await startProcess(
    nodeCommand(
      MAIN,
      ['serve'],
      {
        HOST: '127.0.0.1',
        PORT: String(port),
        ADMIN_PORT: String(adminPort),
        DATABASE_URL: stage.databaseUrl,
        JWT_SECRET: SECRET,
        UPSTREAMS_FILE: upstreamsFile,
        ACCESS_LOG: 'off',
        ...options.env,
      },
      options.semiSpace,
    ),
  )
  await waitUntil('the gateway', async () => (await fetch(`http://127.0.0.1:${adminPort}/metrics`)).ok)
  return { port, adminPort, pids: [running.pid], stop: running.stop }
}

export const gateway: Contender = {
  name: 'gateway',
  title: 'PowerOn Gateway',
  authenticates: true,
  needs: null,
  start: (stage) => startGateway(stage),
}

export const gatewayWithoutAuth: Contender = {
  name: 'gateway-none',
  title: 'PowerOn Gateway, `auth: none`',
  authenticates: false,
  needs: null,
  start: (stage) => startGateway(stage, { auth: 'none' }),
}

export const gatewayOfTwo: Contender = {
  name: 'gateway-workers',
  title: 'PowerOn Gateway, `WORKERS=2`',
  authenticates: true,
  needs: null,
  start: (stage) => startGateway(stage, { env: { WORKERS: '2' } }),
}

export const gatewayWithLog: Contender = {
  name: 'gateway-log',
  title: 'PowerOn Gateway, access log on',
  authenticates: true,
  needs: null,
  start: (stage) => startGateway(stage, { env: { ACCESS_LOG: 'on' } }),
}
