import { createLocalJWKSet, type JSONWebKeySet, type JWTHeaderParameters } from 'jose'

export interface KeySet {
  /**
   * The key that a token's header chooses.
   *
   * @throws jose's JWKSNoMatchingKey, and JWKSMultipleMatchingKeys, which iterates over those that fit
   */
  named(header: JWTHeaderParameters): Promise<CryptoKey>
  /**
   * Where no key has the header's `kid`: the one that has no name, as any from a PEM file. It is meant for all tokens;
   * issuers put a `kid` into each. Null where there is none such, or the header has no `kid`.
   */
  unnamed(header: JWTHeaderParameters): Promise<CryptoKey> | null
}

export function createKeySet(set: JSONWebKeySet): KeySet {
  const named = createLocalJWKSet(set)
  const nameless = set.keys.filter(({ kid }) => kid === undefined)
  const unnamed = nameless.length === 0 ? null : createLocalJWKSet({ keys: nameless })
  return {
    named: (header) => named(header),
    unnamed({ kid, ...header }) {
      return kid === undefined || unnamed === null ? null : unnamed(header)
    },
  }
}
