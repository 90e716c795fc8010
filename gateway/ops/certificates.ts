import { createHash, X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createSecureContext } from 'node:tls'
import type { Scheduler } from '../scheduler.ts'

/** A certificate chain and its key, PEM. */
export interface CertificatePair {
  readonly cert: Buffer
  readonly key: Buffer
  /** Epoch milliseconds. */
  readonly expiresAt: number
}

/** A pair that cannot be used; the message names the file and what was expected. */
export class CertificateError extends Error {
  override readonly name = 'CertificateError'
}

const WATCH_MS = 1000

/** @throws CertificateError */
export function loadCertificates(certFile: string, keyFile: string): CertificatePair {
  const cert = readPem(certFile, 'a PEM certificate chain')
  const key = readPem(keyFile, 'a PEM private key')
  try {
    createSecureContext({ cert, key })
    return { cert, key, expiresAt: Date.parse(new X509Certificate(cert).validTo) }
  } catch (cause) {
    throw new CertificateError(
      `${certFile} and ${keyFile} do not make a usable pair; expected a PEM chain and its own key`,
      { cause },
    )
  }
}

function readPem(file: string, expected: string): Buffer {
  try {
    return readFileSync(file)
  } catch (cause) {
    const reason = cause instanceof Error && 'code' in cause ? String(cause.code) : 'unreadable'
    throw new CertificateError(`${file}: cannot be read (${reason}); expected ${expected}`, { cause })
  }
}

export interface WatchParts {
  readonly certFile: string
  readonly keyFile: string
  readonly scheduler: Scheduler
  /** Puts a new pair in force for new connections. */
  readonly use: (pair: CertificatePair) => void
  readonly log: { info(fields: object, message: string): void; error(fields: object, message: string): void }
}

/**
 * Looks at both files every second, by their content: Kubernetes swaps links, other tools write in place. A bad
 * pair, and one of which only one half was replaced yet, leaves the old one in force.
 *
 * @returns stops the watch
 */
export function watchCertificates({ certFile, keyFile, scheduler, use, log }: WatchParts): () => void {
  let mark = markOf(certFile, keyFile)
  let refused = ''
  let stopped = false
  let cancel = scheduler.after(WATCH_MS, look)

  function look(): void {
    const now = markOf(certFile, keyFile)
    if (now !== mark && now !== refused) replace(now)
    if (!stopped) cancel = scheduler.after(WATCH_MS, look)
  }

  function replace(now: string): void {
    try {
      const pair = loadCertificates(certFile, keyFile)
      use(pair)
      mark = now
      log.info(
        { file: certFile, expires: new Date(pair.expiresAt).toISOString() },
        'the certificate was replaced',
      )
    } catch (error) {
      refused = now
      log.error({ err: error }, 'the new certificate is not usable; the old one stays in force')
    }
  }

  return () => {
    stopped = true
    cancel()
  }
}

function markOf(...files: string[]): string {
  const hash = createHash('sha256')
  for (const file of files) {
    try {
      hash.update(readFileSync(file))
    } catch {
      hash.update('missing')
    }
  }
  return hash.digest('hex')
}
