/** What is known of the timelines of the database's servers (docs/database.md, "Old primaries"). */
export interface Timelines {
  /** The newest; null where no server has told its own. */
  readonly newest: number | null
  /** True where the primary does not tell its timeline, so that one that was replaced would not be noticed. */
  readonly untold: boolean
  /** Answers and connections of replaced primaries, which decided nothing, since the start. */
  readonly refused: number
  /** Hosts that are primaries still, on older timelines. */
  readonly oldPrimaries: readonly string[]
}

/** Of several processes, each with connections of its own. */
export function combineTimelines(each: readonly Timelines[]): Timelines {
  const newest = Math.max(...each.map((timelines) => timelines.newest ?? 0))
  return {
    newest: newest > 0 ? newest : null,
    untold: each.some(({ untold }) => untold),
    refused: each.reduce((sum, { refused }) => sum + refused, 0),
    oldPrimaries: [...new Set(each.flatMap(({ oldPrimaries }) => oldPrimaries))],
  }
}
