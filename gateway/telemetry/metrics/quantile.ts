/**
 * Estimates a quantile from a histogram's counts. As in Prometheus's `histogram_quantile`, observations are taken to be
 * evenly spread within each bucket.
 *
 * @param q from 0 to 1
 * @param bounds upper bounds of the buckets, ascending
 * @param counts one for each bucket, not cumulative, and one beyond the last bound
 * @returns the quantile in the unit of the bounds, at most the last bound; null where nothing was counted
 */
export function quantile(q: number, bounds: readonly number[], counts: readonly number[]): number | null {
  const total = counts.reduce((sum, count) => sum + count, 0)
  if (total <= 0) return null
  let left = q * total
  for (let i = 0; i < bounds.length; i++) {
    const count = counts[i] ?? 0
    const lower = bounds[i - 1] ?? 0
    if (count > 0 && left <= count) return lower + (bounds[i]! - lower) * (left / count)
    left -= count
  }
  return bounds.at(-1) ?? null
}
