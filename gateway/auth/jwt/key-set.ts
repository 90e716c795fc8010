import type { JWTHeaderParameters } from 'jose'
import type { PublicKey } from './public-key.ts'

export interface KeySet {
  readonly size: number
  /** The keys that a token's `kid` names, or all where it names none, as far as they fit its algorithm. */
  named(header: JWTHeaderParameters): readonly CryptoKey[]
  /**
   * Where no key has the header's `kid`: those that have no name, as all from a PEM file. They are meant for all
   * tokens; issuers put a `kid` into each.
   */
  unnamed(header: JWTHeaderParameters): readonly CryptoKey[]
}

export function createKeySet(keys: readonly PublicKey[]): KeySet {
  const fitting = (alg: string, isMeant: (key: PublicKey) => boolean): CryptoKey[] =>
    keys.filter(isMeant).flatMap(({ byAlgorithm }) => byAlgorithm.get(alg) ?? [])
  return {
    size: keys.length,
    named: ({ alg, kid }) => fitting(alg, (key) => kid === undefined || key.kid === kid),
    unnamed: ({ alg, kid }) => (kid === undefined ? [] : fitting(alg, (key) => key.kid === null)),
  }
}
