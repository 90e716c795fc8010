/* The kind of each decision: codes with status 503 are faults, other codes that do not admit are refusals. */

export const KINDS = ['authenticated', 'anonymous', 'refused', 'failed']

const FAULTS = new Set(['token_store_unavailable', 'overloaded'])

export function kindOf(decision) {
  if (decision === 'authenticated' || decision === 'anonymous') return decision
  return FAULTS.has(decision) ? 'failed' : 'refused'
}

/** How many decisions of a kind were counted, by a sample's counts. */
export function countKind(decisions, kind) {
  return Object.entries(decisions).reduce(
    (sum, [name, count]) => sum + (kindOf(name) === kind ? count : 0),
    0,
  )
}
