/** Why tokens cannot be looked up, for operators. It never holds the database's URL or its password. */
export interface StoreFault {
  /** Faults of one kind have the same remedy; another kind is news. */
  readonly kind: string
  /** PostgreSQL's SQLSTATE, Node's code, or one of DatabaseError's own. */
  readonly code: string
  /** What is wrong, and what to do about it. */
  readonly cause: string
}
