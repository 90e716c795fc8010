import type { KeySource } from '../auth/jwt/key-ring.ts'
import { escapeInvisible } from '../core/message-text.ts'
import { describeHost, parseDatabaseUrl } from '../database/url.ts'

/*
 * What a person is told of the database and the key that are in use: enough to see whether they are the right ones,
 * and no secret.
 */

/** Hosts, ports and the name of the database, without user, password and parameters. */
export function describeDatabase(url: string): string {
  const { hosts, database, user } = parseDatabaseUrl(url)
  // PostgreSQL takes the user's name where none is given.
  return escapeInvisible(`${hosts.map(describeHost).join(',')}/${database ?? user ?? ''}`)
}

/**
 * The variable that names the key, and the file or the host that it comes from.
 *
 * @param given what the settings name; null where `serve` has generated the key
 */
export function describeKey(source: KeySource, given: KeySource | null): string {
  if (given === null && source.kind === 'secret-file')
    return escapeInvisible(`a generated secret, ${source.path}`)
  switch (source.kind) {
    case 'secret':
      return 'JWT_SECRET'
    case 'secret-file':
      return escapeInvisible(`JWT_SECRET_FILE, ${source.path}`)
    case 'public-key-file':
      return escapeInvisible(`JWT_PUBLIC_KEY_FILE, ${source.path}`)
    case 'jwks-url':
      // The rest of the URL may be a secret.
      return `JWT_JWKS_URL, ${new URL(source.url).origin}`
  }
}
