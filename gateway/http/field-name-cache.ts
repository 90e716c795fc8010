/** Values by field name, in the spelling in which the name arrived. */
export interface FieldNameCache<T> {
  get(name: string): T | undefined
  /** Does nothing where the cache has no room for names of this length. */
  set(name: string, value: T): void
}

interface Entry<T> {
  readonly name: string
  readonly value: T
}

/** Bounds how many names one look-up compares, whatever names a hostile client sends. */
const MAX_NAMES_PER_LENGTH = 24

const MAX_NAME_LENGTH = 64

/**
 * Every field name that is read from a socket is a new string. A `Map` would first have to find its internalized copy
 * in V8's string table. Comparing the name with the few known names of the same length costs a third of that.
 */
export function createFieldNameCache<T>(): FieldNameCache<T> {
  const byLength: Entry<T>[][] = Array.from({ length: MAX_NAME_LENGTH + 1 }, () => [])
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
      if (entries !== undefined && entries.length < MAX_NAMES_PER_LENGTH) entries.push({ name, value })
    },
  }
}
