/** The words for one kind of fault of the token store. */
export interface Words {
  /** Faults of one kind have the same remedy; another kind is news. */
  readonly kind: string
  readonly wrong: string
  /** What to do about it. */
  readonly remedy: string
}

/** What the words need to know of the settings. */
export interface FaultContext {
  /** The token table, quoted as PostgreSQL quotes it. */
  readonly table: string
  readonly timeoutMs: number
}

/** Some words depend on what the server said beside its code. */
export type WordsOf = Words | ((detail: string, context: FaultContext) => Words)
