import type { ChildProcess } from 'node:child_process'
import type { Test } from 'tap'
import { type GatewayOptions, startGateway, type TestGateway } from './gateway.ts'
import { familyOf } from './process-family.ts'

/** A gateway of which no process may end, whatever its surroundings do. */
export interface WatchedGateway extends TestGateway {
  /** Its primary and its workers. */
  readonly processes: readonly number[]
  /** Holds where each process of the start still runs, nobody spoke of a death, and stderr is empty. */
  checkProcesses(t: Test): void
}

export async function startWatchedGateway(options: GatewayOptions): Promise<WatchedGateway> {
  let stderr = ''
  let ended: number | NodeJS.Signals | null = null
  const gateway = await startGateway({
    ...options,
    onSpawn(child: ChildProcess) {
      child.stderr?.on('data', (data) => {
        stderr += data
      })
      options.onSpawn?.(child)
    },
  })
  void gateway.exited.then((how) => {
    ended = how
  })
  const processes = familyOf(gateway.pid)
  return Object.assign(gateway, {
    processes,
    checkProcesses(t: Test) {
      const deaths = gateway.lines.filter(({ msg }) => /has died|uncaught|unhandled/i.test(msg))
      t.same(
        { ended, processes: ended === null ? familyOf(gateway.pid) : [], deaths, stderr },
        { ended: null, processes, deaths: [], stderr: '' },
        'no process has ended',
      )
    },
  })
}
