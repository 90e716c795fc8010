import { freePort, node, type Running, start } from './processes.ts'

export interface Relay extends Running {
  readonly port: number
}

/** Puts a TCP server farther away: what passes is held back for half of `roundTripMs` in each direction. */
export async function startRelay(targetPort: number, roundTripMs: number): Promise<Relay> {
  const port = await freePort()
  const file = new URL('relay-process.ts', import.meta.url)
  const running = await start(node(file, [String(port), String(targetPort), String(roundTripMs / 2)]))
  return { ...running, port }
}
