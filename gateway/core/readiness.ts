/** Why an instance should get no traffic (interface, section 7). `routing_file` does not come up. */
export type ReadinessReason = 'draining' | 'keys' | 'token_store' | 'fenced' | 'routing_file'

export interface ReadinessCause {
  /** Null where it is none of those: no process answers. */
  readonly reason: ReadinessReason | null
  /** What is wrong and what to do, in words. For operators alone. */
  readonly cause: string
}

/** Whether the instance should get traffic, and if not, why. */
export interface Readiness {
  readonly ready: boolean
  readonly reasons: readonly ReadinessReason[]
  readonly causes: readonly ReadinessCause[]
}

/** @param causes why not; empty where it is ready */
export function readinessFrom(causes: readonly ReadinessCause[]): Readiness {
  const reasons = new Set(causes.flatMap(({ reason }) => reason ?? []))
  return { ready: causes.length === 0, reasons: [...reasons], causes }
}
