/** Limits how many of an upstream's requests are retried, so that retries do not overload it further. */
export interface RetryBudget {
  /** Called for each request: earns a fifth of a retry. */
  deposit(): void
  /** Takes one retry. @returns false where none is left */
  withdraw(): boolean
}

/** Retries allowed for each request. */
const SHARE = 0.2

/** The most retries that can be saved up, and the balance at the start. */
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
