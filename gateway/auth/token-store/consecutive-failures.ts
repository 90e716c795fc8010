/** Look-ups that failed one after the other, with none that was answered between. */
export interface ConsecutiveFailures {
  /** The token of the failure that made the run long enough to be evidence; null while it is not. */
  readonly suspect: string | null
  /** One more failed. @returns true where the run has become long enough by it */
  add(id: string): boolean
  /** One was answered. */
  end(): void
}

export interface ConsecutiveFailuresParts {
  /** Milliseconds, monotonic. */
  readonly now: () => number
  /** One query that is late fails many look-ups at once; so a run has to last. */
  readonly longerThanMs: number
}

const FAILURES = 5

/** So many failures in a row, over so long, are evidence against the store though its probe is answered. */
export function createConsecutiveFailures({
  now,
  longerThanMs,
}: ConsecutiveFailuresParts): ConsecutiveFailures {
  let failures = 0
  let beganAt = 0
  let suspect: string | null = null
  return {
    get suspect() {
      return suspect
    },
    add(id) {
      if (failures++ === 0) beganAt = now()
      if (suspect !== null || failures < FAILURES || now() - beganAt <= longerThanMs) return false
      suspect = id
      return true
    },
    end() {
      if (failures === 0) return
      failures = 0
      suspect = null
    },
  }
}
