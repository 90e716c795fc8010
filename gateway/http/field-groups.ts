/** Header fields by name, for interfaces of Node that take an object. */
export type FieldGroups = Record<string, string | string[]>

/** Without a prototype: names are the other side's to choose, and `constructor` is one like any other. */
export function createFieldGroups(): FieldGroups {
  return Object.create(null)
}

/** Adds a field; several of one name become a list, in order. */
export function addField(groups: FieldGroups, name: string, value: string): void {
  const before = groups[name]
  groups[name] = before === undefined ? value : Array.isArray(before) ? [...before, value] : [before, value]
}

/**
 * Groups fields by name, whatever the case; each group has the first spelling of its name.
 *
 * @param flat name, value pairs
 */
export function groupFields(flat: readonly string[]): FieldGroups {
  const groups = createFieldGroups()
  const spellings = new Map<string, string>()
  for (let i = 0; i < flat.length; i += 2) {
    const key = flat[i]!.toLowerCase()
    const name = spellings.get(key) ?? flat[i]!
    spellings.set(key, name)
    addField(groups, name, flat[i + 1]!)
  }
  return groups
}
