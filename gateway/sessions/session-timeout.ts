/** A transaction takes several statements and may wait for another tab's; a look-up is one. */
const LOOKUPS_A_TRANSACTION = 5

/** How long a change of a session may take. */
export function sessionTimeoutMs(lookupTimeoutMs: number): number {
  return lookupTimeoutMs * LOOKUPS_A_TRANSACTION
}
