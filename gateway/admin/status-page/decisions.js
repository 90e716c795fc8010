/* What a decision is, whatever its code: 503 codes are faults, the others that let nobody in are refusals. */

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
