import type { Timeline } from './timeline.ts'

/**
 * Keeps out a primary that goes on, or wakes, after another server was promoted in its place: it knows the newest timeline
 * that any connection of the process has met. What is known is forgotten with the process.
 */
export interface TimelineFence {
  /** The timeline that was met last, or a newer one of the same system; null where no server has told its own. */
  readonly newest: Timeline | null
  /** Of how many database systems a timeline was met. */
  readonly systems: number
  /** True where the primary that was met last did not tell its timeline. */
  readonly untold: boolean
  /** How many answers and connections of servers on older timelines have decided nothing. */
  readonly refused: number
  /** Takes note of the timeline of a primary; null where it does not tell it. */
  note(timeline: Timeline | null): void
  /** True where a newer timeline of the same system was met. A server that does not tell its timeline passes. */
  isFenced(timeline: Timeline | null): boolean
  countRefused(): void
  /**
   * Calls `listener` whenever a timeline is met that is newer than one of the same system before.
   *
   * @returns ends that
   */
  onNewer(listener: (timeline: Timeline) => void): () => void
}

export function createTimelineFence(): TimelineFence {
  /** By the identifier of the database system, since the numbers of two systems cannot be compared. */
  const known = new Map<string, Timeline>()
  const listeners = new Set<(timeline: Timeline) => void>()
  let newest: Timeline | null = null
  let untold = false
  let refused = 0

  /** An identifier that could not be read may be that of any system. */
  function newestOf(system: string): Timeline | undefined {
    let found: Timeline | undefined
    for (const each of known.values()) {
      const isSame = each.system === system || each.system === '' || system === ''
      if (isSame && (found === undefined || each.number > found.number)) found = each
    }
    return found
  }

  return {
    get newest() {
      return newest
    },
    get systems() {
      return known.size
    },
    get untold() {
      return untold
    },
    get refused() {
      return refused
    },
    note(timeline) {
      untold = timeline === null
      if (timeline === null) return
      const before = newestOf(timeline.system)
      if (before !== undefined && timeline.number <= before.number) {
        newest = before
        return
      }
      known.set(timeline.system, timeline)
      newest = timeline
      if (before !== undefined) for (const listener of [...listeners]) listener(timeline)
    },
    isFenced: (timeline) =>
      timeline !== null && timeline.number < (newestOf(timeline.system)?.number ?? timeline.number),
    countRefused() {
      refused++
    },
    onNewer(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
  }
}
