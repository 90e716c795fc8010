import { KeyError } from '../auth/jwt/key-error.ts'
import { parsePublicKeys } from '../auth/jwt/key-files.ts'
import { ALL_PUBLIC_ALGORITHMS } from '../auth/jwt/public-key.ts'
import { parseSecret, parseSecretFile } from '../auth/jwt/secret-file.ts'
import type { Reader } from './reader.ts'
import type { Settings } from './values.ts'

const HMAC = ['HS256', 'HS384', 'HS512']

/** Checks the keys, and whether they fit the algorithms. */
export function checkKeys(settings: Settings, reader: Reader): void {
  const { jwtAlgorithms } = settings
  const symmetric = settings.keySource === null || settings.keySource.kind.startsWith('secret')
  const known = symmetric ? HMAC : ALL_PUBLIC_ALGORITHMS
  const bad = jwtAlgorithms?.filter((name) => !known.includes(name)) ?? []
  if (bad.length > 0) {
    reader.addProblem(
      `JWT_ALGORITHMS: found ${bad.map((name) => JSON.stringify(name)).join(', ')}; expected ${symmetric ? 'with a secret' : 'with public keys'} some of ${known.join(', ')}`,
    )
  }
  // With bad algorithms the keys are checked against all of them, so that one fault is reported once.
  checkFiles(bad.length > 0 ? ALL_PUBLIC_ALGORITHMS : jwtAlgorithms, reader)
}

function checkFiles(
  algorithms: readonly string[] | null,
  { rawValue, contentOf, addProblem, addWarning }: Reader,
): void {
  const check = (prefix: string, parse: () => { readonly warnings: readonly string[] }): void => {
    try {
      for (const each of parse().warnings) addWarning(prefix + each)
    } catch (error) {
      if (!(error instanceof KeyError)) throw error
      for (const reason of error.reasons) addProblem(prefix + reason)
    }
  }
  const secret = rawValue('JWT_SECRET')
  if (secret !== null) check('', () => parseSecret(secret, 'JWT_SECRET'))
  for (const [name, parse] of [
    ['JWT_SECRET_FILE', parseSecretFile],
    ['JWT_PUBLIC_KEY_FILE', parsePublicKeys],
  ] as const) {
    const found = contentOf(name)
    if (found !== null) check(`${name}: `, () => parse(found, rawValue(name) ?? '', algorithms))
  }
}
