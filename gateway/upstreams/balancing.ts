/** What balancing needs to know of a target. */
export interface Weighted {
  readonly weight: number
  readonly inFlight: number
}

/** Picks one of the given targets; they are never none. */
export type Balancer = <T extends Weighted>(targets: readonly T[]) => T

/**
 * Least requests by the power of two choices (Mitzenmacher, 2001): of two targets taken at random the one with
 * fewer exchanges in flight per weight. Close to a full scan in balance, without its herding on one target.
 *
 * @param random uniform in [0, 1)
 */
export function leastRequests(random: () => number): Balancer {
  return (targets) => {
    const first = Math.floor(random() * targets.length)
    if (targets.length === 1) return targets[first]!
    const step = 1 + Math.floor(random() * (targets.length - 1))
    const a = targets[first]!
    const b = targets[(first + step) % targets.length]!
    return (b.inFlight + 1) / b.weight < (a.inFlight + 1) / a.weight ? b : a
  }
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
