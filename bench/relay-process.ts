import { connect, createServer, type Socket } from 'node:net'
import { setPriority } from 'node:os'

const [port, targetPort, delayMs] = process.argv.slice(2).map(Number) as [number, number, number]

interface Held {
  readonly dueAt: number
  readonly pass: () => void
}

const held: Held[] = []

/** Timers are as coarse as a millisecond, so it spins while anything is held, and only then. */
function release(): void {
  while (held.length > 0 && held[0]!.dueAt <= performance.now()) held.shift()!.pass()
  if (held.length > 0) setImmediate(release)
}

function hold(pass: () => void): void {
  held.push({ dueAt: performance.now() + delayMs, pass })
  if (held.length === 1) setImmediate(release)
}

function join(from: Socket, to: Socket): void {
  from.on('data', (data) => hold(() => void to.write(data)))
  from.on('end', () => hold(() => void to.end()))
  from.on('error', () => to.destroy())
}

// Where there are few cores, what is measured must not wait behind the spinning.
setPriority(19)

createServer({ noDelay: true, allowHalfOpen: true }, (client) => {
  const server = connect({ port: targetPort, host: '127.0.0.1', noDelay: true, allowHalfOpen: true })
  join(client, server)
  join(server, client)
}).listen(port, '127.0.0.1')
