import { isSameValue } from './column-values.ts'

/** Base types of the columns that claims are compared with. */
export interface IdentityTypes {
  readonly userId: string
  readonly sessionId: string
  readonly mandateId: string
}

/** The owner of a token. Null means that there is none, or that the token does not name one. */
interface Owner {
  readonly userId: string | null
  readonly sessionId: string | null
  readonly mandateId: string | null
}

/** The values of a row that decide about its token. */
export interface DecidingRow {
  readonly userId: string
  readonly sessionId: string
  readonly mandateId: string | null
  /** True where its status is the one that admits. */
  readonly active: boolean
  /** By the database's clock. */
  readonly expired: boolean
  readonly types: IdentityTypes
}

/** The code by which the row alone refuses its token; null where it does not. */
export function refusalByRow({
  active,
  expired,
}: Pick<DecidingRow, 'active' | 'expired'>): 'token_revoked' | 'token_expired' | null {
  if (!active) return 'token_revoked'
  return expired ? 'token_expired' : null
}

/**
 * The first claim that differs from the row; null where none does. A claim that is null is not compared, and an empty
 * mandate is no mandate. Values are compared as PostgreSQL compares those of the column.
 */
export function claimThatDiffers(claims: Owner, row: DecidingRow): keyof IdentityTypes | null {
  if (claims.userId !== null && !isSameValue(row.types.userId, claims.userId, row.userId)) return 'userId'
  if (claims.mandateId !== null && !isSameMandate(claims.mandateId, row)) return 'mandateId'
  if (claims.sessionId !== null && !isSameValue(row.types.sessionId, claims.sessionId, row.sessionId))
    return 'sessionId'
  return null
}

/** True where the row belongs to somebody else than it did when this identity was read from it. */
export function isReassigned(identity: Owner, row: DecidingRow): boolean {
  return claimThatDiffers({ ...identity, mandateId: identity.mandateId ?? '' }, row) !== null
}

function isSameMandate(mandateId: string, row: DecidingRow): boolean {
  if (mandateId === '' || row.mandateId === null) return mandateId === '' && row.mandateId === null
  return isSameValue(row.types.mandateId, mandateId, row.mandateId)
}
