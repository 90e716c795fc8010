import { connect, createServer, type Socket } from 'node:net'
import { setPriority } from 'node:os'

const [port, targetPort, delayMs] = process.argv.slice(2).map(Number) as [number, number, number]

interface Held {
  readonly dueAt: number
  readonly forward: () => void
}

const held: Held[] = []

/** Timers have a resolution of a millisecond, so this loop spins while anything is held. */
function releaseDue(): void {
  while (held.length > 0 && held[0]!.dueAt <= performance.now()) held.shift()!.forward()
  if (held.length > 0) setImmediate(releaseDue)
}

function holdPiece(forward: () => void): void {
  held.push({ dueAt: performance.now() + delayMs, forward })
  if (held.length === 1) setImmediate(releaseDue)
}

function relayPieces(from: Socket, to: Socket): void {
  from.on('data', (data) => holdPiece(() => void to.write(data)))
  from.on('end', () => holdPiece(() => void to.end()))
  from.on('error', () => to.destroy())
}

// On few cores the spinning loop must not delay what is measured.
setPriority(19)

createServer({ noDelay: true, allowHalfOpen: true }, (client) => {
  const server = connect({ port: targetPort, host: '127.0.0.1', noDelay: true, allowHalfOpen: true })
  relayPieces(client, server)
  relayPieces(server, client)
}).listen(port, '127.0.0.1')
