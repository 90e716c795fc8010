/** So many times what it leaves free one connection may hold. */
const HELD_FOR_EACH_FREE = 7

/**
 * Whether a client's connection may take one more of what all clients share: the places of a target, those of a queue.
 *
 * What is taken cannot be taken back: a slow exchange keeps its place for as long as it likes. So there has to be one
 * left before anybody asks for it. A connection that carries many exchanges takes at most seven eighths of what it finds
 * free, and never the last one; the next connection takes at most seven eighths of the rest, and so on. One connection
 * alone has to do without an eighth, which is what it costs that the client after it is served at once. The fewer are
 * left, the fewer may hold who still gets one: under load each connection has about as many as any other.
 *
 * @param held how many the connection has already
 */
export function mayTakeMore(held: number, free: number): boolean {
  return held === 0 ? free > 0 : held < HELD_FOR_EACH_FREE * (free - 1)
}

/** What one client's connection holds of what all clients share, where it can carry several exchanges at once. */
export class Holdings {
  /** Token look-ups that are not answered yet. */
  lookups = 0
  /**
   * Entries stay: to delete and add them with each exchange would cost the map a new table every few exchanges. Those of
   * targets that a newer routing file has dropped go with the target, however long the connection lives.
   */
  readonly #places = new WeakMap<object, number>()

  placesAt(target: object): number {
    return this.#places.get(target) ?? 0
  }

  changePlacesAt(target: object, by: 1 | -1): void {
    this.#places.set(target, this.placesAt(target) + by)
  }
}
