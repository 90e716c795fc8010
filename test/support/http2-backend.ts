import { once } from 'node:events'
import {
  createServer,
  type Http2Session,
  type ServerHttp2Stream,
  type ServerOptions,
  type Settings,
} from 'node:http2'
import type { Test } from 'tap'

export interface Http2Backend {
  readonly url: string
  readonly port: number
  /** Connections that are open. */
  readonly connections: ReadonlySet<Http2Session>
}

/**
 * A backend of HTTP/2 without TLS, by Node; it ends with the test.
 *
 * @param onStream called with each request's stream and path
 * @param options further ones of Node's server
 */
export async function startHttp2Backend(
  t: Test,
  onStream: (stream: ServerHttp2Stream, path: string, method: string) => void,
  settings: Settings = {},
  options: ServerOptions = {},
): Promise<Http2Backend> {
  const server = createServer({ ...options, settings })
  const connections = new Set<Http2Session>()
  server.on('session', (session) => {
    connections.add(session)
    session.once('close', () => connections.delete(session))
    session.on('error', () => {})
  })
  server.on('stream', (stream: ServerHttp2Stream, headers) => {
    stream.on('error', () => {})
    onStream(stream, String(headers[':path']), String(headers[':method']))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    for (const session of connections) session.destroy()
    server.close()
  })
  const { port } = server.address() as { port: number }
  return { url: `http://127.0.0.1:${port}`, port, connections }
}
