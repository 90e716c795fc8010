import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { type ConnectionOptions, connect } from 'node:tls'
import { promisify } from 'node:util'
import { PATH } from './load-shape.ts'
import { CONNECTIONS } from './options.ts'

/** Streams on each HTTP/2 connection. There are so many connections that as many requests run as over HTTP/1.1. */
const STREAMS = 8
const HANDSHAKES_AT_ONCE = 8

export interface SecureLoad {
  readonly seconds: number
  readonly protocol: 'HTTP/1.1' | 'HTTP/2'
  readonly token: string
}

/** @returns how many requests were answered with 2xx */
export async function runH2load(port: number, { seconds, protocol, token }: SecureLoad): Promise<number> {
  const shape =
    protocol === 'HTTP/2'
      ? ['-c', String(CONNECTIONS / STREAMS), '-m', String(STREAMS)]
      : ['-c', String(CONNECTIONS), '--h1']
  const { stdout } = await promisify(execFile)('h2load', [
    ...shape,
    '-D',
    String(seconds),
    '-H',
    `cookie: auth_token=${token}`,
    `https://127.0.0.1:${port}${PATH}`,
  ])
  const good = Number(/status codes: (\d+) 2xx/.exec(stdout)?.[1])
  const bad = /status codes: \d+ 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx/
    .exec(stdout)
    ?.slice(1)
    .some((n) => n !== '0')
  if (!(good > 0) || bad !== false) throw new Error(`h2load reported other statuses than 2xx: ${stdout}`)
  return good
}

/** Makes handshakes, each on a new connection, a few at once. @returns how many were made */
export async function runHandshakes(port: number, seconds: number, resumed: boolean): Promise<number> {
  const options = { port, host: '127.0.0.1', servername: 'bench.example', rejectUnauthorized: false }
  const session = resumed ? await sessionOf(options) : undefined
  const end = performance.now() + seconds * 1000
  let done = 0
  async function repeatHandshakes(): Promise<void> {
    while (performance.now() < end) {
      const socket = connect(session === undefined ? options : { ...options, session })
      await once(socket, 'secureConnect')
      if (socket.isSessionReused() !== resumed)
        throw new Error('a session was not resumed, or should not have been')
      done++
      socket.destroy()
    }
  }
  await Promise.all(Array.from({ length: HANDSHAKES_AT_ONCE }, repeatHandshakes))
  return done
}

async function sessionOf(options: ConnectionOptions): Promise<Buffer> {
  const socket = connect(options)
  const [session] = (await once(socket, 'session')) as [Buffer]
  socket.destroy()
  return session
}

export async function hasH2load(): Promise<boolean> {
  return promisify(execFile)('h2load', ['--version']).then(
    () => true,
    () => false,
  )
}
