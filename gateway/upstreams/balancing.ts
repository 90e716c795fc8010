/** What balancing needs to know of a target. */
export interface Weighted {
  /** Share of the traffic relative to the others'; may change between picks. */
  readonly weight: number
  readonly inFlight: number
}

/** Picks one of the given targets; they are never none. */
export type Balancer = <T extends Weighted>(targets: readonly T[]) => T

/**
 * Least requests by the power of two choices (Mitzenmacher, 2001): of two targets drawn by weight the one with
 * fewer exchanges in flight per weight. Close to a full scan in balance, without its herding on one target.
 *
 * @param random uniform in [0, 1)
 */
export function leastRequests(random: () => number): Balancer {
  return (targets) => {
    if (targets.length === 1) return targets[0]!
    let total = 0
    for (const target of targets) total += target.weight
    const a = drawn(targets, random() * total, null)
    const b = drawn(targets, random() * (total - a.weight), a)
    return b.inFlight / b.weight < a.inFlight / a.weight ? b : a
  }
}

/** The target at this place of the line of weights, in which `except` takes no room. */
function drawn<T extends Weighted>(targets: readonly T[], at: number, except: T | null): T {
  let left = at
  let last = targets[0]!
  for (const target of targets) {
    if (target === except) continue
    last = target
    left -= target.weight
    if (left < 0) return target
  }
  return last
}

/** Smooth weighted round robin, as nginx does it: heavy targets come often but not in a row. */
export function roundRobin(): Balancer {
  const credit = new WeakMap<object, number>()
  return (targets) => {
    let total = 0
    let best = targets[0]!
    let bestCredit = Number.NEGATIVE_INFINITY
    for (const target of targets) {
      total += target.weight
      const current = (credit.get(target) ?? 0) + target.weight
      credit.set(target, current)
      if (current > bestCredit) {
        best = target
        bestCredit = current
      }
    }
    credit.set(best, bestCredit - total)
    return best
  }
}
