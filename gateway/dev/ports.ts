import { writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { readText } from './processes.ts'

/** The port of the last start where it is still free, so that a client's settings go on working. */
export async function choosePort(dataDir: string): Promise<number> {
  const file = join(dataDir, 'port')
  const kept = Number(await readText(file))
  const port = kept > 0 && (await isFree(kept)) ? kept : await freePort()
  await writeFile(file, String(port))
  return port
}

function isFree(port: number): Promise<boolean> {
  return new Promise((done) => {
    const server = createServer()
    server.once('error', () => done(false))
    server.listen(port, '127.0.0.1', () => server.close(() => done(true)))
  })
}

function freePort(): Promise<number> {
  return new Promise((done, fail) => {
    const server = createServer()
    server.once('error', fail)
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number }
      server.close(() => done(port))
    })
  })
}
