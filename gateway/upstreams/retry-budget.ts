/** How many of an upstream's requests may be tried again, so that retries cannot become the outage. */
export interface RetryBudget {
  /** Counts a request. */
  deposit(): void
  /** Takes one retry, where there is one left. */
  withdraw(): boolean
}

/** Retries allowed for each request. */
const SHARE = 0.2

/** Retries that a quiet upstream may spend at once, and what it starts with. */
const RESERVE = 20

export function createRetryBudget(): RetryBudget {
  let balance = RESERVE
  return {
    deposit() {
      balance = Math.min(RESERVE, balance + SHARE)
    },
    withdraw() {
      if (balance < 1) return false
      balance--
      return true
    },
  }
}
