import { type AddressInfo, connect, createServer, type Socket } from 'node:net'

export interface SlowRelay {
  readonly port: number
  close(): void
}

/** How much the line holds before its sender has to wait. */
const LINE_BYTES = 65_536
const PIECE_BYTES = 5_840
const TICK_MS = 5

/** Puts a slow line before a server: all that it sends on one connection passes at so many bytes a second. */
export async function startSlowRelay(targetPort: number, bytesPerSecond: number): Promise<SlowRelay> {
  const sockets = new Set<Socket>()
  const track = (socket: Socket, other: () => Socket) => {
    sockets.add(socket)
    socket.setNoDelay(true)
    socket.on('error', () => other().destroy())
    socket.on('close', () => {
      sockets.delete(socket)
      other().destroy()
    })
  }
  const server = createServer((client) => {
    const upstream = connect(targetPort, '127.0.0.1')
    track(client, () => upstream)
    track(upstream, () => client)
    client.pipe(upstream)
    passSlowly(upstream, client, bytesPerSecond)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    port: (server.address() as AddressInfo).port,
    close() {
      server.close()
      for (const socket of sockets) socket.destroy()
    },
  }
}

function passSlowly(from: Socket, to: Socket, bytesPerSecond: number): void {
  const pieces: Buffer[] = []
  let held = 0
  let allowed = 0
  from.on('data', (bytes: Buffer) => {
    for (let at = 0; at < bytes.length; at += PIECE_BYTES) pieces.push(bytes.subarray(at, at + PIECE_BYTES))
    held += bytes.length
    if (held >= LINE_BYTES) from.pause()
  })
  let last = performance.now()
  const timer = setInterval(() => {
    const now = performance.now()
    allowed = pieces.length === 0 ? 0 : allowed + ((now - last) * bytesPerSecond) / 1000
    last = now
    while (allowed > 0 && pieces.length > 0 && !to.writableNeedDrain) {
      const piece = pieces.shift()!
      allowed -= piece.length
      held -= piece.length
      to.write(piece)
    }
    if (held < LINE_BYTES) from.resume()
  }, TICK_MS)
  from.on('close', () => clearInterval(timer))
  to.on('close', () => clearInterval(timer))
}
