import type { JWTHeaderParameters } from 'jose'
import type { PublicKey } from './public-key.ts'

export interface KeySet {
  readonly size: number
  /** The keys for the header's algorithm with its `kid`, or all for that algorithm where it has no `kid`. */
  named(header: JWTHeaderParameters): readonly CryptoKey[]
  /**
   * The keys for the header's algorithm that have no `kid` themselves, as all from a PEM file. They are tried where no key
   * has the header's `kid`.
   */
  unnamed(header: JWTHeaderParameters): readonly CryptoKey[]
}

export function createKeySet(keys: readonly PublicKey[]): KeySet {
  const keysFor = (alg: string, isCandidate: (key: PublicKey) => boolean): CryptoKey[] =>
    keys.filter(isCandidate).flatMap(({ byAlgorithm }) => byAlgorithm.get(alg) ?? [])
  return {
    size: keys.length,
    named: ({ alg, kid }) => keysFor(alg, (key) => kid === undefined || key.kid === kid),
    unnamed: ({ alg, kid }) => (kid === undefined ? [] : keysFor(alg, (key) => key.kid === null)),
  }
}
