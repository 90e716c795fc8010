/** What is known of field names, by the spelling in which they arrive. */
export interface NameMemo<T> {
  get(name: string): T | undefined
  /** Does nothing where there is no place for it. */
  set(name: string, value: T): void
}

interface Entry<T> {
  readonly name: string
  readonly value: T
}

/** Places for names of one length: what a hostile client could make a look-up go through. */
const OF_ONE_LENGTH = 24

const LONGEST = 64

/**
 * A field name that was just read is a string of its own each time. A `Map` would first have to find the one string
 * of that content in V8's table of all; comparing it with the few known names of its length costs a third of that.
 */
export function createNameMemo<T>(): NameMemo<T> {
  const byLength: Entry<T>[][] = Array.from({ length: LONGEST + 1 }, () => [])
  return {
    get(name) {
      const entries = byLength[name.length]
      if (entries === undefined) return undefined
      for (let i = 0; i < entries.length; i++) {
        const entry = entries[i]!
        if (entry.name === name) return entry.value
      }
      return undefined
    },
    set(name, value) {
      const entries = byLength[name.length]
      if (entries !== undefined && entries.length < OF_ONE_LENGTH) entries.push({ name, value })
    },
  }
}
