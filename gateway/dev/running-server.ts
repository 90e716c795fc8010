import { connect } from 'node:net'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { isAlive, readText } from './processes.ts'

/** The embedded server's only role. */
export const SUPERUSER = 'gateway'

/** A startup packet is answered with `R` once the server takes connections, and with `E` before. */
export function isAccepting(port: number): Promise<boolean> {
  return new Promise((done) => {
    const socket = connect(port, '127.0.0.1')
    const body = Buffer.from(`user\0${SUPERUSER}\0database\0postgres\0\0`)
    const head = Buffer.alloc(8)
    head.writeInt32BE(body.length + 8, 0)
    head.writeInt32BE(196608, 4)
    socket.once('connect', () => socket.write(Buffer.concat([head, body])))
    socket.once('data', (data) => {
      done(data[0] === 82)
      socket.destroy()
    })
    socket.once('error', () => done(false))
    socket.once('close', () => done(false))
  })
}

/** The server that runs on these data already, after a gateway was killed or beside another one. */
export async function runningServer(cluster: string): Promise<{ port: number; pid: number } | null> {
  const lines = ((await readText(join(cluster, 'postmaster.pid'))) ?? '').split('\n')
  const pid = Number(lines[0])
  const port = Number(lines[3])
  if (!(pid > 0) || !isAlive(pid) || !(port > 0)) return null
  for (let tries = 0; tries < 100; tries++) {
    if (await isAccepting(port)) return { pid, port }
    if (!isAlive(pid)) return null
    await delay(50)
  }
  return null
}
