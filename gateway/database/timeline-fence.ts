import type { Timeline } from './connection.ts'

export interface TimelineFence {
  /**
   * True for an old primary that goes on, or wakes, after another was promoted: it is on an older timeline than one that
   * was seen. A server that does not tell its timeline is taken as it is.
   */
  isFenced(timeline: Timeline | null): boolean
}

export function createTimelineFence(): TimelineFence {
  /** By the identifier of the database system; a server of another one has been put in its place. */
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
