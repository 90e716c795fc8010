import { get } from 'node:http'
import { connect, createServer, type Socket } from 'node:net'

/** A TCP balancer that sends each new connection to the next instance that says it is ready. */
export interface RoundRobin {
  readonly port: number
  /** Those of its instances that said so at the last check. */
  readonly ready: readonly Instance[]
  /** Instances that take connections from now on; known by their readiness from the next check on. */
  set(instances: readonly Instance[]): void
  close(): Promise<void>
}

export interface Instance {
  readonly port: number
  readonly adminPort: number
}

const CHECK_MS = 50

export async function startRoundRobin(): Promise<RoundRobin> {
  let instances: readonly Instance[] = []
  let ready: readonly Instance[] = []
  let turn = 0
  const open = new Set<Socket>()
  const check = async () => {
    const asked = instances
    const answers = await Promise.all(asked.map(isReady))
    if (asked === instances) ready = asked.filter((_, n) => answers[n])
  }
  let closed = false
  let timer = setTimeout(again, CHECK_MS)
  async function again() {
    await check()
    if (!closed) timer = setTimeout(again, CHECK_MS)
  }
  const server = createServer({ allowHalfOpen: true }, (client) => {
    const instance = ready[turn++ % ready.length]
    if (instance === undefined) {
      client.destroy()
      return
    }
    const onward = connect({ port: instance.port, host: '127.0.0.1', allowHalfOpen: true })
    for (const socket of [client, onward]) {
      open.add(socket)
      socket.once('close', () => open.delete(socket))
    }
    client.pipe(onward).pipe(client)
    client.on('error', () => onward.destroy())
    onward.on('error', () => client.destroy())
  })
  await new Promise<void>((resolve) => server.listen({ port: 0, host: '127.0.0.1', backlog: 1024 }, resolve))
  return {
    port: (server.address() as { port: number }).port,
    get ready() {
      return ready
    },
    set(next) {
      instances = next
      void check()
    },
    close() {
      // A check may be under way, which would go on for ever.
      closed = true
      clearTimeout(timer)
      for (const socket of open) socket.destroy()
      return new Promise((resolve) => server.close(() => resolve()))
    },
  }
}

export function isReady({ adminPort }: Instance): Promise<boolean> {
  return new Promise((resolve) => {
    const asked = get({ host: '127.0.0.1', port: adminPort, path: '/readyz', timeout: 1000 }, (res) => {
      res.resume()
      resolve(res.statusCode === 200)
    })
    asked.once('timeout', () => asked.destroy())
    asked.once('error', () => resolve(false))
  })
}
