import type { KeyObject } from 'node:crypto'
import type { JWTHeaderParameters } from 'jose'

/** Where the key comes from that tokens are verified with. */
export type KeySource =
  | { readonly kind: 'secret'; readonly secret: string }
  | { readonly kind: 'secret-file'; readonly path: string }
  | { readonly kind: 'public-key-file'; readonly path: string }
  | { readonly kind: 'jwks-url'; readonly url: string }

export type VerificationKey = KeyObject | CryptoKey

/** The keys in force. Fields that name a key by URL (`jku`, `x5u`) or carry one (`jwk`, `x5c`) are never read. */
export interface KeyRing {
  /** The algorithms that these keys are for. */
  readonly algorithms: readonly string[]
  /** Counts changes: what was verified under another version is not verified any more. */
  readonly version: number
  /**
   * The keys that may have signed a token with this header, at most a hundred, in the order in which they are tried.
   *
   * @throws the fetch's error where there never was a key
   */
  candidates(header: JWTHeaderParameters): Promise<readonly VerificationKey[]> | readonly VerificationKey[]
  /** `none`: there never was one. `outdated`: what came after it is not usable. */
  readonly state: 'current' | 'outdated' | 'none'
  /** The secrets, of which the first one signs; empty where only public keys are held. */
  readonly secrets: readonly KeyObject[]
  close(): void
}
