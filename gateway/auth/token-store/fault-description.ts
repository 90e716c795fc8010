/** The texts for operators about one kind of fault of the token store. */
export interface FaultDescription {
  /** Faults of one kind have the same remedy; a fault of another kind is logged again. */
  readonly kind: string
  readonly problem: string
  /** What to do about it. */
  readonly remedy: string
}

/** The settings that descriptions mention. */
export interface FaultContext {
  /** The token table, quoted as PostgreSQL quotes it. */
  readonly table: string
  readonly timeoutMs: number
}

/** A description, or a function that makes one from the server's message. */
export type FaultDescriber = FaultDescription | ((detail: string, context: FaultContext) => FaultDescription)
