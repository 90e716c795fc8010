import type { SecureContext } from 'node:tls'
import type { Log } from '../../core/log.ts'
import { repeat, type Scheduler } from '../../core/scheduler.ts'
import { indexCertificates } from './certificate-index.ts'
import {
  type Certificate,
  CertificateError,
  loadCertificate,
  type PairFiles,
  pairMark,
  pairsIn,
} from './certificates.ts'

/** The certificates in force. */
export interface CertificateStore {
  /** For clients that name no host. */
  readonly fallback: Certificate
  readonly all: readonly Certificate[]
  /** What on disk cannot be used at present, though it should be. */
  readonly faults: readonly CertificateFault[]
  /** For a host that a client names (RFC 6066, section 3): an exact name, then a wildcard, then the fallback. */
  contextFor(host: string): SecureContext
  stop(): void
}

/** Files that cannot be used. */
export interface CertificateFault {
  /** As `PairFiles.name`; the folder where that cannot be read. */
  readonly name: string
  /** What is wrong with them, and what was expected. */
  readonly reason: string
}

export interface CertificateSource {
  /** The fallback, where it is given. */
  readonly pair: { readonly certFile: string; readonly keyFile: string } | null
  readonly folder: string | null
}

export interface CertificateStoreParts {
  readonly source: CertificateSource
  readonly scheduler: Scheduler
  /** Epoch milliseconds. */
  readonly wallClock: () => number
  /** Called after each change, so that new connections get what is in force. */
  readonly onChange: (store: CertificateStore) => void
  readonly log: Log
}

/** A pair in force. */
interface Entry {
  certificate: Certificate
  /** Of its files when they were read. */
  mark: string
  /** Gone from the folder when it was last looked at. */
  absent: boolean
  /** When its validity was last logged, and what it was. */
  warnedAt: number
  warnedOf: Validity
}

const WATCH_MS = 1000

/** Certificates are renewed well before this; one that is not has been forgotten. */
const EXPIRES_SOON_MS = 14 * 86_400_000
const WARN_AGAIN_MS = 86_400_000

/**
 * Reads the certificates and looks at their files every second. One that is replaced by something unusable stays in
 * force, and does not touch the others.
 *
 * @throws CertificateError where one cannot be used at the start
 */
export function openCertificates(parts: CertificateStoreParts): CertificateStore {
  const { source, scheduler, wallClock, log } = parts
  const fallbackFile = source.pair?.certFile ?? null
  const entries = new Map<string, Entry>()
  /**
   * Files that cannot be used, by name and as they were seen. One is logged when it is seen so for the second time: at
   * the first it may have been half written.
   */
  const bad = new Map<string, { readonly mark: string; readonly reason: string; logged: boolean }>()
  let folderFault = ''
  let index = indexCertificates([], fallbackFile)

  const store: CertificateStore = {
    get fallback() {
      return index.fallback
    },
    get all() {
      return [...entries.values()].map(({ certificate }) => certificate)
    },
    get faults() {
      const faults = [...bad]
        .filter(([, { logged }]) => logged)
        .map(([name, { reason }]) => ({ name, reason }))
      return folderFault === '' ? faults : [...faults, { name: source.folder ?? '', reason: folderFault }]
    },
    contextFor: (host) => index.find(host.toLowerCase()).context,
    stop: () => stop(),
  }

  function loadAll(): void {
    const reasons: string[] = []
    for (const files of pairsOf(source)) {
      try {
        const mark = pairMark(files)
        add(files, loadCertificate(files), mark)
      } catch (error) {
        reasons.push(...reasonsOf(error))
      }
    }
    if (reasons.length === 0 && entries.size === 0) {
      reasons.push(`${source.folder}: holds no certificate; expected NAME.crt and NAME.key, or NAME.pem`)
    }
    if (reasons.length > 0) throw new CertificateError(reasons)
    index = indexCertificates(store.all, fallbackFile)
  }

  function add(files: PairFiles, certificate: Certificate, mark: string): void {
    entries.set(files.name, { certificate, mark, absent: false, warnedAt: -Infinity, warnedOf: 'good' })
  }

  function checkFiles(): void {
    const found = present()
    const changed = found === null ? false : [...found.map(refresh), dropAbsent(found)].some(Boolean)
    if (changed) {
      index = indexCertificates(store.all, fallbackFile)
      parts.onChange(store)
    }
    warnOfValidity()
  }

  /** Null where the folder cannot be read: nothing changes then. */
  function present(): readonly PairFiles[] | null {
    try {
      const pairs = pairsOf(source)
      folderFault = ''
      return pairs
    } catch (error) {
      const fault = reasonsOf(error).join()
      if (fault !== folderFault)
        log.error({ err: error }, 'the certificate folder cannot be read, and its certificates stay in force')
      folderFault = fault
      return null
    }
  }

  /** @returns true where a certificate was put in force */
  function refresh(files: PairFiles): boolean {
    const entry = entries.get(files.name)
    if (entry !== undefined) entry.absent = false
    const mark = pairMark(files)
    if (mark === entry?.mark) {
      bad.delete(files.name)
      return false
    }
    try {
      const certificate = requireUsable(loadCertificate(files), entry?.certificate)
      add(files, certificate, mark)
      const expires = new Date(certificate.expiresAt).toISOString()
      const message = entry === undefined ? 'a certificate was added' : 'the certificate was replaced'
      log.info({ file: files.certFile, names: certificate.names, expires }, message)
      bad.delete(files.name)
      return true
    } catch (error) {
      const after = entry === undefined ? 'it is not used' : 'the old one stays in force'
      logOnce(files, { mark, reason: reasonsOf(error).join('; ') }, () => {
        log.error({ file: files.certFile, err: error }, `the new certificate is not usable; ${after}`)
      })
      return false
    }
  }

  function logOnce({ name }: PairFiles, seen: { mark: string; reason: string }, log: () => void): void {
    const before = bad.get(name)
    if (before?.mark !== seen.mark) bad.set(name, { ...seen, logged: false })
    else if (!before.logged) {
      before.logged = true
      log()
    }
  }

  /** A certificate that clients would refuse does not replace one that they accept. @throws CertificateError */
  function requireUsable(next: Certificate, before: Certificate | undefined): Certificate {
    const now = wallClock()
    const { certFile } = next.files
    if (next.startsAt > now) {
      throw new CertificateError([`${certFile}: is not valid yet; expected one for now`])
    }
    if (next.expiresAt <= now && before !== undefined && before.expiresAt > next.expiresAt) {
      throw new CertificateError([`${certFile}: has ended; expected one that lasts longer than the old one`])
    }
    return next
  }

  /** Some tools remove a file before they write it anew: what is missing once may be back in a second. */
  function dropAbsent(found: readonly PairFiles[]): boolean {
    const names = new Set(found.map(({ name }) => name))
    for (const name of bad.keys()) if (!names.has(name)) bad.delete(name)
    let dropped = false
    for (const [name, entry] of entries) {
      if (names.has(name) || entries.size === 1) continue
      if (entry.absent) {
        entries.delete(name)
        dropped = true
        log.info({ file: entry.certificate.files.certFile }, 'a certificate was removed')
      }
      entry.absent = true
    }
    return dropped
  }

  function warnOfValidity(): void {
    const now = wallClock()
    for (const entry of entries.values()) {
      const validity = validityAt(entry.certificate, now)
      const known = validity === entry.warnedOf && now - entry.warnedAt < WARN_AGAIN_MS
      if (validity === 'good' || known) continue
      Object.assign(entry, { warnedAt: now, warnedOf: validity })
      const { files, startsAt, expiresAt } = entry.certificate
      const at = (ms: number) => new Date(ms).toISOString()
      const fields = { file: files.certFile, expires: at(expiresAt) }
      if (validity === 'soon') log.warn(fields, 'the certificate expires soon')
      else if (validity === 'ended') log.error(fields, 'the certificate has expired, and clients refuse it')
      else
        log.error(
          { ...fields, begins: at(startsAt) },
          'the certificate is not valid yet, and clients refuse it',
        )
    }
  }

  loadAll()
  warnOfValidity()
  const stop = repeat(scheduler, WATCH_MS, checkFiles)
  return store
}

/** `early`: it is not valid yet. `soon`: it ends soon. */
type Validity = 'good' | 'early' | 'soon' | 'ended'

function validityAt({ startsAt, expiresAt }: Certificate, now: number): Validity {
  if (expiresAt <= now) return 'ended'
  if (startsAt > now) return 'early'
  return expiresAt - now < EXPIRES_SOON_MS ? 'soon' : 'good'
}

function pairsOf({ pair, folder }: CertificateSource): PairFiles[] {
  return [
    ...(pair === null ? [] : [{ name: pair.certFile, ...pair }]),
    ...(folder === null ? [] : pairsIn(folder)),
  ]
}

function reasonsOf(error: unknown): readonly string[] {
  if (error instanceof CertificateError) return error.reasons
  throw error
}
