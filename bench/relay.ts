import { findFreePort, nodeCommand, type Running, startProcess } from './processes.ts'

export interface Relay extends Running {
  readonly port: number
}

/** Starts a relay to a TCP server that delays everything by half of `roundTripMs` in each direction. */
export async function startRelay(targetPort: number, roundTripMs: number): Promise<Relay> {
  const port = await findFreePort()
  const file = new URL('relay-process.ts', import.meta.url)
  const running = await startProcess(
    nodeCommand(file, [String(port), String(targetPort), String(roundTripMs / 2)]),
  )
  return { ...running, port }
}
