import type { Parsed } from './token-columns.ts'

/** The values of the status column that the gateway knows. Every other value refuses. */
export interface TokenStatuses {
  /** The only value that admits a token. */
  readonly admitting: string
  /** The value that the gateway writes when it revokes. */
  readonly revoked: string
}

export const DEFAULT_STATUSES: TokenStatuses = { admitting: 'ACTIVE', revoked: 'REVOKED' }

/** Reads `ACTIVE,REVOKED`: first the status that admits, then the one that is written on revocation. */
export function parseTokenStatuses(text: string): Parsed<TokenStatuses> {
  const words = text.split(',').map((word) => word.trim())
  const [admitting = '', revoked = ''] = words
  if (words.length !== 2 || admitting === '' || revoked === '') {
    return {
      ok: false,
      problem: `found ${JSON.stringify(text)}; expected two statuses with a comma between them: the one that admits, and the one that is written on revocation, such as ACTIVE,REVOKED or true,false`,
    }
  }
  if (admitting === revoked) {
    return {
      ok: false,
      problem: `found ${JSON.stringify(text)}; expected two different statuses, since a revoked token must not be admitted`,
    }
  }
  return { ok: true, value: { admitting, revoked } }
}

/** The type of the status column in a new table with these values. */
export function statusTypeFor({ admitting, revoked }: TokenStatuses): 'boolean' | 'integer' | 'text' {
  const both = (pattern: RegExp) => pattern.test(admitting) && pattern.test(revoked)
  if (both(/^(?:true|false)$/i)) return 'boolean'
  return both(/^-?\d{1,9}$/) ? 'integer' : 'text'
}
