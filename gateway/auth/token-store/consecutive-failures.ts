/** Counts look-ups that failed one after the other, without an answered one in between. */
export interface ConsecutiveFailures {
  /** The token whose failure made the failures count as evidence against the store; null until then. */
  readonly suspectId: string | null
  /** Counts a failure. @returns true where the failures count as evidence since this one */
  record(id: string): boolean
  /** A look-up was answered. */
  reset(): void
}

export interface ConsecutiveFailuresParts {
  /** Milliseconds, monotonic. */
  readonly now: () => number
  /** How long failures have to go on, in milliseconds: a single late query fails many look-ups at once. */
  readonly longerThanMs: number
}

const MIN_FAILURES = 5

/** Five failures in a row or more, over long enough, are evidence against the store even where its probe is answered. */
export function createConsecutiveFailures({
  now,
  longerThanMs,
}: ConsecutiveFailuresParts): ConsecutiveFailures {
  let failures = 0
  let beganAt = 0
  let suspectId: string | null = null
  return {
    get suspectId() {
      return suspectId
    },
    record(id) {
      if (failures++ === 0) beganAt = now()
      if (suspectId !== null || failures < MIN_FAILURES || now() - beganAt <= longerThanMs) return false
      suspectId = id
      return true
    },
    reset() {
      if (failures === 0) return
      failures = 0
      suspectId = null
    },
  }
}
