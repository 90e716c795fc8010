import { SignJWT } from 'jose'
import type { KeyRing } from './key-ring.ts'

/** The claims of a token that the gateway itself issues. */
export interface IssuedClaims {
  readonly jti: string
  readonly userId: string
  readonly sessionId: string
  readonly mandateId: string | null
  readonly type: 'access' | 'refresh'
  /** Whole seconds since the epoch. */
  readonly iat?: number
  /** Whole seconds since the epoch. */
  readonly exp: number
}

/** Signs tokens that the gateway's own verifier accepts. */
export interface TokenSigner {
  /**
   * The same claims result in byte-identical JWTs as long as the keys are unchanged.
   *
   * @returns the JWT in its compact form
   * @throws Error where the key ring holds no secret
   */
  sign(claims: IssuedClaims): Promise<string>
}

export interface TokenSignerParts {
  readonly keys: Pick<KeyRing, 'secrets' | 'algorithms'>
  /** `JWT_ISSUER`. */
  readonly issuer: string | null
  /** `JWT_AUDIENCE`. */
  readonly audience: string | null
}

export function createTokenSigner({ keys, issuer, audience }: TokenSignerParts): TokenSigner {
  const configured = {
    ...(issuer === null ? {} : { iss: issuer }),
    ...(audience === null ? {} : { aud: audience }),
  }
  return {
    async sign(claims) {
      // Read for each token: a changed key file replaces both.
      const { secrets, algorithms } = keys
      const [secret] = secrets
      if (secret === undefined) {
        throw new Error(
          'tokens are signed with JWT_SECRET or JWT_SECRET_FILE; the gateway holds only public keys',
        )
      }
      const header = { alg: algorithms[0] ?? 'HS256', typ: 'JWT' }
      return new SignJWT({ ...claims, ...configured }).setProtectedHeader(header).sign(secret)
    },
  }
}
