import { readFile } from 'node:fs/promises'
import { fileMark } from '../../core/file-mark.ts'
import { watchFile } from '../../core/file-watch.ts'
import type { Log } from '../../core/log.ts'
import type { Scheduler } from '../../core/scheduler.ts'
import { createJwksFetcher, type FetchJson } from './jwks.ts'
import { KeyError } from './key-error.ts'
import { type PublicKeys, parsePublicKeys } from './key-files.ts'
import type { KeyRing, KeySource } from './key-ring.ts'
import { createKeySet } from './key-set.ts'
import { PUBLIC_ALGORITHMS } from './public-key.ts'
import { parseSecret, parseSecretFile, type Secrets } from './secret-file.ts'

export { KeyError } from './key-error.ts'

export interface KeyRingParts {
  readonly scheduler: Scheduler
  readonly fetchJson: FetchJson
  readonly log: Log
  /** `JWT_ALGORITHMS`, or null for all that fit the keys. */
  readonly algorithms: readonly string[] | null
}

/** The keys of a source, until it changes. */
interface Keys extends Pick<KeyRing, 'algorithms' | 'candidates' | 'secrets'> {
  readonly warnings: readonly string[]
}

const WATCH_MS = 1000

/**
 * Opens the source. The warnings about the first keys are logged with the settings, once for all workers; the ring logs
 * those about later keys.
 *
 * @throws KeyError where a file is not usable; an unreachable JWKS URL is no error, since it is tried again
 */
export async function createKeyRing(source: KeySource, parts: KeyRingParts): Promise<KeyRing> {
  const { algorithms } = parts
  switch (source.kind) {
    case 'secret': {
      const keys = secretKeys(parseSecret(source.secret, 'JWT_SECRET'), algorithms)
      return { ...keys, version: 0, state: 'current', fault: null, close: () => {} }
    }
    case 'secret-file':
      return fileRing(source.path, parts, (content) =>
        secretKeys(parseSecretFile(content, source.path), algorithms),
      )
    case 'public-key-file':
      return fileRing(source.path, parts, (content) =>
        publicKeys(parsePublicKeys(content, source.path, algorithms), algorithms),
      )
    case 'jwks-url': {
      const fetcher = createJwksFetcher(source.url, parts)
      return {
        algorithms: algorithms ?? PUBLIC_ALGORITHMS,
        get version() {
          return fetcher.version
        },
        get state() {
          return fetcher.state
        },
        get fault() {
          return fetcher.fault
        },
        secrets: [],
        candidates: (header) => fetcher.candidates(header),
        close: () => fetcher.close(),
      }
    }
  }
}

function secretKeys({ secrets, warnings }: Secrets, algorithms: KeyRingParts['algorithms']): Keys {
  return { algorithms: algorithms ?? ['HS256'], secrets, warnings, candidates: () => secrets }
}

function publicKeys({ keys, warnings }: PublicKeys, algorithms: KeyRingParts['algorithms']): Keys {
  const set = createKeySet(keys)
  return {
    algorithms: algorithms ?? PUBLIC_ALGORITHMS,
    secrets: [],
    warnings,
    candidates(header) {
      const named = set.named(header)
      return named.length > 0 ? named : set.unnamed(header)
    },
  }
}

/** A ring that follows its file. A bad new file leaves the last good keys in force. */
async function fileRing(
  path: string,
  parts: KeyRingParts,
  parse: (content: Buffer) => Keys,
): Promise<KeyRing> {
  const mark = await fileMark(path)
  let keys = await readKeys(path, parse)
  let version = 0
  let fault: string | null = null

  async function read(): Promise<void> {
    try {
      keys = await readKeys(path, parse)
      version++
      fault = null
      parts.log.info({ file: path }, 'the key file has changed; the new key is in force')
      for (const warning of keys.warnings) parts.log.warn({ file: path }, warning)
    } catch (error) {
      fault = error instanceof KeyError ? error.reasons.join('; ') : String(error)
      parts.log.error(
        { file: path, err: error },
        'the key file has changed and is not usable; the last good key stays in force',
      )
    }
  }

  const { scheduler } = parts
  const watch = watchFile({ path, mark, intervalMs: WATCH_MS, waitUntilStable: false, scheduler, read })
  return {
    get algorithms() {
      return keys.algorithms
    },
    get version() {
      return version
    },
    get state() {
      return fault === null ? 'current' : 'outdated'
    },
    get fault() {
      return fault
    },
    get secrets() {
      return keys.secrets
    },
    candidates: (header) => keys.candidates(header),
    close: () => watch.stop(),
  }
}

async function readKeys(path: string, parse: (content: Buffer) => Keys): Promise<Keys> {
  try {
    return parse(await readFile(path))
  } catch (error) {
    if (error instanceof KeyError) throw error
    const reason = error instanceof Error && 'code' in error ? String(error.code) : 'unreadable'
    throw new KeyError([`${path}: cannot be read (${reason}); expected a readable key file`], {
      cause: error,
    })
  }
}
