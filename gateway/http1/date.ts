/**
 * The value of `Date`, made anew once a second.
 *
 * @param now milliseconds since 1970
 */
export function createDateFormatter(now: () => number): () => string {
  let second = Number.NaN
  let text = ''
  return () => {
    const current = Math.floor(now() / 1000)
    if (current !== second) {
      second = current
      text = new Date(current * 1000).toUTCString()
    }
    return text
  }
}
