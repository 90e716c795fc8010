/** What balancing reads of a target. */
export interface Weighted {
  /** Share of the traffic relative to the other targets. May change between two calls. */
  readonly weight: number
  readonly inFlight: number
}

/** Picks one of the given targets, of which there is at least one. */
export type Balancer = <T extends Weighted>(targets: readonly T[]) => T

/**
 * Least requests by the power of two choices (Mitzenmacher, 2001): draws two targets at random by weight and picks the
 * one with fewer exchanges in flight per weight. Balances nearly as well as comparing all targets, but does not send
 * all traffic to the same target whenever one has become idle.
 *
 * @param random uniform in [0, 1)
 */
export function leastRequests(random: () => number): Balancer {
  return (targets) => {
    if (targets.length === 1) return targets[0]!
    let total = 0
    for (const target of targets) total += target.weight
    const a = targetAtWeight(targets, random() * total, null)
    const b = targetAtWeight(targets, random() * (total - a.weight), a)
    return b.inFlight / b.weight < a.inFlight / a.weight ? b : a
  }
}

/**
 * Imagines the targets on a line, each as long as its weight, and returns the one at `at`.
 *
 * @param except a target that must not be chosen
 */
function targetAtWeight<T extends Weighted>(targets: readonly T[], at: number, except: T | null): T {
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

/** Smooth weighted round robin as in nginx: a target with a large weight is picked often, but not successively. */
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
