import { readFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'

/** What a connection sends once, and what the first line of its answer has to contain. */
export interface Opening {
  readonly port: number
  readonly bytes: string
  readonly expected: string
}

/** Opens a connection, and waits for the beginning of its answer. */
export async function openConnection({ port, bytes, expected }: Opening): Promise<Socket> {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true })
  socket.on('error', () => {})
  socket.write(bytes)
  const answer = await new Promise<Buffer>((resolve, reject) => {
    socket.once('data', resolve)
    socket.once('close', () => reject(new Error('closed without an answer')))
  })
  if (!answer.subarray(0, 20).includes(expected)) {
    socket.destroy()
    throw new Error(`answered: ${answer.toString('latin1')}`)
  }
  return socket
}

/** Opens `count` connections, a few at a time, and adds them to `open`. */
export async function openConnections(
  open: Socket[],
  count: number,
  opening: (n: number) => Opening,
): Promise<void> {
  const AT_ONCE = 50
  for (let done = 0; done < count; done += AT_ONCE) {
    const some = Array.from({ length: Math.min(AT_ONCE, count - done) }, (_, i) =>
      openConnection(opening(done + i)),
    )
    open.push(...(await Promise.all(some)))
  }
}

/** @param mark value of `X-Mark`, by which a backend can recognise the request */
export function webSocketHandshake(path: string, token: string, mark = 'none'): string {
  return `GET ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nX-Mark: ${mark}\r\nCookie: auth_token=${token}\r\n\r\n`
}

/** How many connections the limit of open files allows, at most `most`. @param filesEach files that each takes */
export function capToFileLimit(filesEach: number, most: number): number {
  const limit = Number(/^Max open files\s+\d+\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1])
  return Number.isNaN(limit) ? most : Math.min(most, Math.floor((limit - 500) / filesEach))
}
