import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Test } from 'tap'

export interface CountingBackend {
  readonly port: number
  /** How often each `X-Id` was seen. */
  readonly seen: ReadonlyMap<string, number>
}

/** Counts requests by their `X-Id`, and answers with the number of bytes of their bodies. */
export async function startCountingBackend(t: Test): Promise<CountingBackend> {
  const seen = new Map<string, number>()
  const server = createServer((req, res) => {
    const id = String(req.headers['x-id'])
    seen.set(id, (seen.get(id) ?? 0) + 1)
    let bytes = 0
    req.on('data', (piece) => {
      bytes += piece.length
    })
    req.on('end', () => res.end(String(bytes)))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close().closeAllConnections())
  return { port: (server.address() as AddressInfo).port, seen }
}
