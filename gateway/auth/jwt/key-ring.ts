import type { KeyObject } from 'node:crypto'
import type { JWTHeaderParameters } from 'jose'

/** Where the keys that verify tokens come from. */
export type KeySource =
  | { readonly kind: 'secret'; readonly secret: string }
  | { readonly kind: 'secret-file'; readonly path: string }
  | { readonly kind: 'public-key-file'; readonly path: string }
  | { readonly kind: 'jwks-url'; readonly url: string }

export type VerificationKey = KeyObject | CryptoKey

/** The keys in force. Header fields that name a key by URL (`jku`, `x5u`) or hold one (`jwk`, `x5c`) are never read. */
export interface KeyRing {
  /** The algorithms that the keys may verify. */
  readonly algorithms: readonly string[]
  /** Grows with each change of the keys; results verified under an older version are discarded. */
  readonly version: number
  /**
   * The keys that may have signed a token with this header, at most a hundred, in the order in which they are tried.
   *
   * @throws Error with the fetch's error as its cause, where no key was ever fetched
   */
  candidates(header: JWTHeaderParameters): Promise<readonly VerificationKey[]> | readonly VerificationKey[]
  /** `none`: there never was a key. `outdated`: the newest version of the source is not usable. */
  readonly state: 'current' | 'outdated' | 'none'
  /** Why the newest version of the source cannot be used; null where it is in force. */
  readonly fault: string | null
  /** The secrets; the first one signs. Empty where the source has public keys. */
  readonly secrets: readonly KeyObject[]
  close(): void
}
