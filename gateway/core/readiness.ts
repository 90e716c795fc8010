/** Why an instance should get no traffic. `routing_file` does not occur at present (docs/observing.md, "Health and status"). */
export type ReadinessReason = 'draining' | 'keys' | 'token_store' | 'fenced' | 'routing_file'

export interface ReadinessCause {
  /** Null where none of the reasons applies, because no process answers. */
  readonly reason: ReadinessReason | null
  /** What is wrong and what to do, in words, for operators only. */
  readonly cause: string
}

/** Whether the instance should get traffic, and if not, why. */
export interface Readiness {
  readonly ready: boolean
  readonly reasons: readonly ReadinessReason[]
  readonly causes: readonly ReadinessCause[]
}

/** @param causes why the instance is not ready; empty where it is */
export function readinessFrom(causes: readonly ReadinessCause[]): Readiness {
  const reasons = new Set(causes.flatMap(({ reason }) => reason ?? []))
  return { ready: causes.length === 0, reasons: [...reasons], causes }
}
