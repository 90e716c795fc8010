import type { KeyObject } from 'node:crypto'
import { SignJWT } from 'jose'

export const TEST_SECRET = 'a secret of the tests that is long enough for HS256'

/** Signs any claims with HS256, unless the header says otherwise; with a private key where one is given. */
export async function signToken(options: {
  readonly claims: Record<string, unknown>
  readonly secret?: string
  readonly key?: KeyObject
  readonly header?: Record<string, unknown>
}): Promise<string> {
  const { claims, secret = TEST_SECRET, key, header = {} } = options
  return new SignJWT(claims)
    .setProtectedHeader({ alg: 'HS256', ...header })
    .sign(key ?? new TextEncoder().encode(secret))
}

/** A token of which nothing is checked: any header, any payload, any signature. */
export function forgeToken(header: unknown, payload: unknown, signature = ''): string {
  const part = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url')
  return `${part(header)}.${part(payload)}.${signature}`
}

/** Seconds since the epoch, so many seconds from now. */
export function inSeconds(seconds: number): number {
  return Math.floor(Date.now() / 1000) + seconds
}
