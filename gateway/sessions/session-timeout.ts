/** A change of a session is several statements, and may wait for another tab's change; a look-up is one statement. */
const LOOKUPS_A_TRANSACTION = 5

/** How long a change of a session may take, in milliseconds. */
export function sessionTimeoutMs(lookupTimeoutMs: number): number {
  return lookupTimeoutMs * LOOKUPS_A_TRANSACTION
}
