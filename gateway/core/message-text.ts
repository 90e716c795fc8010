/** How many characters of the input a message repeats. */
const MAX_SHOWN = 80

/** How many candidates a word is compared with. A file with more is generated, and its names are not mistyped. */
const MAX_CANDIDATES = 500

/** Replaces characters that end a line, or that a terminal or an editor does not show, by their `\u{…}` escapes. */
export function escapeInvisible(text: string): string {
  return text.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, (char) => `\\u{${char.codePointAt(0)!.toString(16)}}`)
}

/** Cuts a text after 80 characters, with invisible characters escaped. */
export function shorten(text: string): string {
  return escapeInvisible(text.length <= MAX_SHOWN ? text : `${text.slice(0, MAX_SHOWN)}…`)
}

/** The text as a JSON string, shortened. */
export function quote(text: string): string {
  return shorten(JSON.stringify(text))
}

/** `; did you mean "…"?` with the candidate that `word` was probably meant to be; empty where there is none. */
export function didYouMean(word: string, candidates: readonly string[]): string {
  const best = closestCandidate(word, candidates)
  return best === null ? '' : `; did you mean ${quote(best)}?`
}

/** The candidate that `word` was probably meant to be, at most `maxEdits` edits away; null where there is none. */
export function closestCandidate(word: string, candidates: readonly string[], maxEdits = 2): string | null {
  const limit = Math.min(maxEdits, Math.floor((word.length + 1) / 3))
  let best: string | null = null
  let least = limit + 1
  for (const candidate of candidates.slice(0, MAX_CANDIDATES)) {
    // The difference of the lengths is the least number of edits.
    if (Math.abs(candidate.length - word.length) > limit) continue
    const distance = editDistance(word.toLowerCase().slice(0, 64), candidate.toLowerCase())
    if (distance < least) {
      least = distance
      best = candidate
    }
  }
  return best
}

/** The Levenshtein distance, with two swapped neighbours counted as one edit. */
function editDistance(a: string, b: string): number {
  const rows = [Array.from({ length: b.length + 1 }, (_, j) => j)]
  for (let i = 1; i <= a.length; i++) {
    const row = [i]
    for (let j = 1; j <= b.length; j++) {
      const cost = a[i - 1] === b[j - 1] ? 0 : 1
      const swapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]
      row[j] = Math.min(rows[i - 1]![j]! + 1, row[j - 1]! + 1, rows[i - 1]![j - 1]! + cost)
      if (swapped) row[j] = Math.min(row[j]!, rows[i - 2]![j - 2]! + 1)
    }
    rows.push(row)
  }
  return rows[a.length]![b.length]!
}
