import { startNginx } from './nginx.ts'
import { findFreePort, nodeCommand, type Running, startProcess, waitUntil } from './processes.ts'

/** The backend of all contenders. */
export interface Backend extends Running {
  readonly name: string
  readonly port: number
}

export async function startBackend(folder: string, hasNginx: boolean): Promise<Backend> {
  const port = await findFreePort()
  const running = hasNginx
    ? await startNginx(
        folder,
        'backend',
        `  server { listen 127.0.0.1:${port} backlog=4096; location / { default_type text/plain; return 200 "${BODY}"; } }`,
      )
    : await startProcess(
        nodeCommand(new URL('contenders/services/backend.ts', import.meta.url), [String(port)]),
      )
  await waitUntil('the backend', async () => (await fetch(`http://127.0.0.1:${port}/`)).ok)
  return { ...running, port, name: hasNginx ? 'nginx, one worker' : 'Node' }
}

export const BODY = 'sixty-four bytes, about as much as a small answer of an API has.'
