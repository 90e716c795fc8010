import { type GatewayOptions, startGateway, type TestGateway } from './gateway.ts'
import { until } from './plain-gateway.ts'
import { freePort } from './raw-backend.ts'
import { type Instance, isReady } from './round-robin.ts'

/** What was done to an instance, and when: its requests in flight then may have been lost. */
export interface Disruption {
  readonly kind: 'kill' | 'freeze'
  readonly slot: number
  readonly from: number
  /** When it was over: the process had gone, or went on. */
  to: number
}

/** Gateways on fixed ports, as a deployment has them, to be killed, restarted, added and frozen. */
export interface Fleet {
  readonly slots: readonly Instance[]
  readonly running: ReadonlyMap<number, TestGateway>
  readonly disruptions: readonly Disruption[]
  /** Resolves when the instance is ready. */
  start(slot: number): Promise<void>
  kill(slot: number): Promise<void>
  /** SIGTERM. @returns the exit code */
  leave(slot: number): Promise<number | NodeJS.Signals>
  freeze(slot: number): void
  thaw(slot: number): void
  stop(): Promise<void>
}

/** A busy machine takes its time. */
const STARTS_WITHIN_MS = 60_000

export async function createFleet(size: number, options: GatewayOptions): Promise<Fleet> {
  const slots: Instance[] = []
  for (let n = 0; n < size; n++) slots.push({ port: await freePort(), adminPort: await freePort() })
  const running = new Map<number, TestGateway>()
  const disruptions: Disruption[] = []

  function take(slot: number): TestGateway {
    const gateway = running.get(slot)
    if (gateway === undefined) throw new Error(`nothing runs in slot ${slot}`)
    return gateway
  }

  return {
    slots,
    running,
    disruptions,
    async start(slot) {
      const { port, adminPort } = slots[slot]!
      const env = { ...options.env, PORT: String(port), ADMIN_PORT: String(adminPort) }
      running.set(slot, await startGateway({ ...options, env }))
      await until(() => isReady(slots[slot]!), STARTS_WITHIN_MS)
    },
    async kill(slot) {
      const gateway = take(slot)
      running.delete(slot)
      const disruption: Disruption = { kind: 'kill', slot, from: performance.now(), to: Infinity }
      disruptions.push(disruption)
      gateway.signal('SIGKILL')
      await gateway.exited
      disruption.to = performance.now()
      await gateway.stop()
    },
    async leave(slot) {
      const gateway = take(slot)
      running.delete(slot)
      gateway.signal('SIGTERM')
      const code = await gateway.exited
      await gateway.stop()
      return code
    },
    freeze(slot) {
      take(slot).signal('SIGSTOP')
      disruptions.push({ kind: 'freeze', slot, from: performance.now(), to: Infinity })
    },
    thaw(slot) {
      take(slot).signal('SIGCONT')
      const last = disruptions.findLast((each) => each.kind === 'freeze' && each.slot === slot)
      if (last !== undefined) last.to = performance.now()
    },
    async stop() {
      for (const gateway of running.values()) gateway.signal('SIGCONT')
      await Promise.all([...running.values()].map((gateway) => gateway.stop()))
    },
  }
}
