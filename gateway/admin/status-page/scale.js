/* Where values stand in a plot: linear, or, with a `bottom`, by powers of ten. */

export const WIDTH = 600
export const HEIGHT = 100

/** Room for the stroke of a line that runs along an edge. */
const EDGE = 1

/**
 * @param highest of the values that are to be shown
 * @param range `least` keeps the scale from making mountains of nothing, `most` from going where no value can be
 * @returns the top's value, the heights of the grid's lines, and a value's height
 */
export function scaleOf(highest, { least, most = Number.POSITIVE_INFINITY, bottom = null }) {
  const height = (share) => HEIGHT - EDGE - Math.min(1, Math.max(0, share)) * (HEIGHT - 2 * EDGE)
  if (bottom === null) {
    const top = Math.min(niceTop(Math.max(highest, least)), most)
    return { top, grid: [0, 0.5, 1].map(height), y: (value) => height(value / top) }
  }
  const decades = Math.ceil(Math.log10(Math.max(highest, least) / bottom) - 1e-9)
  return {
    top: bottom * 10 ** decades,
    grid: Array.from({ length: decades + 1 }, (_, i) => height(i / decades)),
    y: (value) => height(Math.log10(Math.max(value, bottom) / bottom) / decades),
  }
}

/** The next of 1, 2, 5, 10, 20, …: the scale stays as it is while values move a little. */
function niceTop(value) {
  const power = 10 ** Math.floor(Math.log10(value) + 1e-9)
  return power * ([1, 2, 5, 10].find((step) => step * power >= value * (1 - 1e-9)) ?? 10)
}

/** A line that ends where there is no value, or no sample for longer than `gapMs`. */
export function pathOf(points, y, gapMs) {
  let path = ''
  let before = null
  for (const { at, x, value } of points) {
    if (value !== null) {
      const goesOn = before !== null && before.value !== null && at - before.at <= gapMs
      // A single value would be an invisible point.
      path += goesOn ? `L${x} ${y(value).toFixed(1)}` : `M${(x - 1.5).toFixed(1)} ${y(value).toFixed(1)}H${x}`
    }
    before = { at, value }
  }
  return path
}
