/** Why tokens cannot be looked up, for operators. It never contains the database's URL or its password. */
export interface StoreFault {
  /** Faults of one kind have the same remedy; a fault of another kind is logged again. */
  readonly kind: string
  /** PostgreSQL's SQLSTATE, Node's code, or a code of DatabaseError. */
  readonly code: string
  /** What is wrong, and what to do about it. */
  readonly cause: string
}
