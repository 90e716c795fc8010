import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import type { Test } from 'tap'

/** Ports that answer nothing at all, as an address does that no packet reaches. */
export interface BlackHole {
  readonly ports: readonly number[]
  /** From now on they accept, also the connections that are waiting. */
  open(): void
}

export interface BlackHoleOptions {
  readonly host: string
  /** 0 for a free one. */
  readonly ports: readonly number[]
}

const LISTEN = `
  const [host, ...ports] = process.argv.slice(1)
  const servers = ports.map((port) =>
    require('node:net').createServer().listen({ host, port: Number(port), backlog: 1, ipv6Only: true }))
  const listening = servers.map((server) => new Promise((resolve) => server.once('listening', resolve)))
  Promise.all(listening).then(() => console.log(servers.map((server) => server.address().port).join(' ')))
`

/**
 * Listeners that have been stopped, and whose queues are full: Linux drops what asks for a connection then. They end with
 * the test.
 */
export async function startBlackHole(t: Test, { host, ports }: BlackHoleOptions): Promise<BlackHole> {
  const args = ['-u', 'NODE_OPTIONS', process.execPath, '-e', LISTEN, host, ...ports.map(String)]
  const child = spawn('env', args, { stdio: ['ignore', 'pipe', 'inherit'] })
  const fillers: Socket[] = []
  t.teardown(async () => {
    const gone = once(child, 'exit')
    child.kill('SIGKILL')
    for (const socket of fillers) socket.destroy()
    await gone
  })
  const [line] = await once(child.stdout, 'data')
  const bound = String(line).trim().split(' ').map(Number)
  child.kill('SIGSTOP')
  await Promise.all(
    bound.map(async (port) => {
      while (await fill({ host, port }, fillers));
    }),
  )
  return { ports: bound, open: () => void child.kill('SIGCONT') }
}

/** @returns false once a connection is not taken any more */
async function fill(
  to: { readonly host: string; readonly port: number },
  fillers: Socket[],
): Promise<boolean> {
  const socket = connect(to)
  socket.on('error', () => {})
  fillers.push(socket)
  await Promise.race([once(socket, 'connect'), new Promise((resolve) => setTimeout(resolve, 200))])
  // Where the process was busy, the connection is there, and only its event is still to come.
  await new Promise((resolve) => setImmediate(resolve))
  return !socket.connecting
}
