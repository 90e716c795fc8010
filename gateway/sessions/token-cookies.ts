import type { CookieNames } from '../http/cookies.ts'

/** How browsers keep the cookies; the login has to set them in the same way. */
export interface CookieAttributes {
  readonly sameSite: 'strict' | 'lax' | 'none'
  /** Without a dot before it; null where the cookies are for one host alone. */
  readonly domain: string | null
  /** True where they outlive the browser. */
  readonly persistent: boolean
}

export interface TokenCookies {
  /**
   * `Set-Cookie` fields for a new pair of tokens, a flat list of names and values.
   *
   * @param scheme what the client speaks
   */
  set(tokens: { readonly access: string; readonly refresh: string }, scheme: string): readonly string[]
  /** `Set-Cookie` fields that remove both. */
  clear(scheme: string): readonly string[]
}

export interface TokenCookiesParts {
  readonly names: CookieNames
  readonly attributes: CookieAttributes
  readonly accessTtlS: number
  readonly refreshTtlS: number
}

const SAME_SITE = { strict: 'Strict', lax: 'Lax', none: 'None' } as const

/** Browsers refuse a cookie with such a name that is not `Secure` (RFC 6265bis, section 4.1.3), whatever its case. */
const SECURE_PREFIX = /^__(?:Host|Secure)-/i

export function createTokenCookies(parts: TokenCookiesParts): TokenCookies {
  const { names, attributes } = parts
  const { sameSite, domain, persistent } = attributes

  function field(name: string, value: string, scheme: string, maxAgeS: number | null): [string, string] {
    // Browsers refuse SameSite=None without Secure.
    const secure = scheme === 'https' || sameSite === 'none' || SECURE_PREFIX.test(name)
    const text =
      `${name}=${value}; Path=/; HttpOnly; SameSite=${SAME_SITE[sameSite]}` +
      (secure ? '; Secure' : '') +
      (domain === null ? '' : `; Domain=${domain}`) +
      (maxAgeS === null ? '' : `; Max-Age=${maxAgeS}`)
    return ['Set-Cookie', text]
  }

  return {
    set: ({ access, refresh }, scheme) => [
      ...field(names.access, access, scheme, persistent ? parts.accessTtlS : null),
      ...field(names.refresh, refresh, scheme, persistent ? parts.refreshTtlS : null),
    ],
    // A cookie is removed only by one of the same name, domain and path.
    clear: (scheme) => [...field(names.access, '', scheme, 0), ...field(names.refresh, '', scheme, 0)],
  }
}
