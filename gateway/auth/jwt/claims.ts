export interface TokenClaims {
  readonly token: VerifiedToken
  readonly type: string | null
}

export type ParsedClaims =
  | { readonly kind: 'usable'; readonly claims: TokenClaims }
  | { readonly kind: 'unusable'; readonly reason: string }

export interface ClaimRules {
  readonly issuer: string | null
  readonly audience: string | null
}

const MAX_ID_CHARS = 1024
const utf8 = new TextDecoder('utf-8', { fatal: true })

/**
 * Reads and checks the claims of a payload whose signature is good, except for `exp` and `nbf`, which depend on the time
 * (RFC 7519, section 4.1).
 *
 * @param payload JSON as UTF-8
 */
export function parseClaims(payload: Uint8Array, rules: ClaimRules): ParsedClaims {
  const claims = parseObject(payload)
  if (claims === null) return unusable('the payload is no JSON object')
  const { jti, exp, nbf, type } = claims
  if (typeof jti !== 'string' || !isUsableId(jti)) return unusable('no usable jti')
  if (typeof exp !== 'number' || !Number.isFinite(exp)) return unusable('no numeric exp')
  if (nbf !== undefined && nbf !== null && (typeof nbf !== 'number' || !Number.isFinite(nbf))) {
    return unusable('nbf is no number')
  }
  if (rules.issuer !== null && claims.iss !== rules.issuer) return unusable('the issuer (iss) is another one')
  if (rules.audience !== null && !isAudience(claims.aud, rules.audience))
    return unusable('the audience (aud) is another one')
  if (type !== undefined && type !== null && typeof type !== 'string') return unusable('type is no string')
  const userId = identityClaim(claims.userId)
  const mandateId = identityClaim(claims.mandateId)
  const sessionId = identityClaim(claims.sessionId)
  if (userId === undefined || mandateId === undefined || sessionId === undefined) {
    return unusable('userId, mandateId or sessionId is neither a string nor null')
  }
  return {
    kind: 'usable',
    claims: { token: { jti, exp, nbf: nbf ?? null, userId, mandateId, sessionId }, type: type ?? null },
  }
}

function parseObject(payload: Uint8Array): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(utf8.decode(payload))
    return typeof value === 'object' && value !== null && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : null
  } catch {
    return null
  }
}

/** PostgreSQL has no NUL in text, and a lone surrogate would arrive there as another character. */
function isUsableId(id: string): boolean {
  return id !== '' && id.length <= MAX_ID_CHARS && !id.includes('\0') && id.isWellFormed()
}

function isAudience(aud: unknown, wanted: string): boolean {
  return Array.isArray(aud) ? aud.includes(wanted) : aud === wanted
}

/** An id that is a whole number is compared by its decimal text. Undefined where the claim is unusable. */
function identityClaim(value: unknown): string | null | undefined {
  if (value === undefined || value === null) return null
  if (typeof value === 'string') return value
  return Number.isSafeInteger(value) ? String(value) : undefined
}

function unusable(reason: string): ParsedClaims {
  return { kind: 'unusable', reason }
}

/** The claims of a token with a good signature. Claims that are absent are null. */
export interface VerifiedToken {
  /** The token's id, the key of its row. */
  readonly jti: string
  /** Seconds since the epoch. */
  readonly exp: number
  readonly nbf: number | null
  readonly userId: string | null
  readonly mandateId: string | null
  readonly sessionId: string | null
}
