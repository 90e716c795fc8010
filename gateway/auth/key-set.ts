import { createLocalJWKSet, type JSONWebKeySet, type JWTHeaderParameters } from 'jose'

export type KeySet = (header: JWTHeaderParameters) => Promise<CryptoKey>

/**
 * Chooses the key for a token by its header. A single key that has no name, as any from a PEM file, is meant for all
 * tokens: issuers put a `kid` into each, and jose's set knows no such name.
 */
export function createKeySet(set: JSONWebKeySet): KeySet {
  const resolve = createLocalJWKSet(set)
  if (set.keys.length > 1 || set.keys[0]?.kid !== undefined) return (header) => resolve(header)
  return ({ kid: _, ...header }) => resolve(header)
}
