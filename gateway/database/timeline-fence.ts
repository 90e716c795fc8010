import type { Timeline } from './connection.ts'

/** Keeps out a primary that goes on, or wakes, after another server was promoted in its place. */
export interface TimelineFence {
  /**
   * True where the server is on an older timeline than one that was seen before. A server that does not report its
   * timeline passes.
   */
  isFenced(timeline: Timeline | null): boolean
}

export function createTimelineFence(): TimelineFence {
  /** By the identifier of the database system, since the numbers of two systems cannot be compared. */
  const newest = new Map<string, number>()
  return {
    isFenced(timeline) {
      if (timeline === null) return false
      const before = newest.get(timeline.system) ?? 0
      newest.set(timeline.system, Math.max(before, timeline.number))
      return timeline.number < before
    },
  }
}
