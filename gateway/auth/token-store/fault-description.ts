/** The words for one kind of fault of the token store. */
export interface FaultDescription {
  /** Faults of one kind have the same remedy; another kind is news. */
  readonly kind: string
  readonly problem: string
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
export type FaultDescriber = FaultDescription | ((detail: string, context: FaultContext) => FaultDescription)
