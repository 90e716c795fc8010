import { X509Certificate } from 'node:crypto'
import { type Dirent, readdirSync, readFileSync, statSync } from 'node:fs'
import { basename, join } from 'node:path'
import { createSecureContext, type SecureContext } from 'node:tls'
import { fileMarkSync } from '../../core/file-mark.ts'
import { UnusableError } from '../../core/unusable-error.ts'

/** Where a certificate chain and its key are, PEM; both may be the same file. */
export interface PairFiles {
  /** Unique among the pairs: the certificate's file, relative to the folder where it is in one. */
  readonly name: string
  readonly certFile: string
  readonly keyFile: string
}

/** A chain and its own key, checked. */
export interface Certificate {
  readonly files: PairFiles
  readonly cert: Buffer
  readonly key: Buffer
  readonly context: SecureContext
  /** The DNS names that it is for, lower case; a wildcard is `*.example.com`. */
  readonly names: readonly string[]
  /** Epoch milliseconds. */
  readonly startsAt: number
  readonly expiresAt: number
}

/** Certificates that cannot be used; each reason names the file and what was expected. */
export class CertificateError extends UnusableError {
  override readonly name = 'CertificateError'
}

/** @throws CertificateError */
export function loadCertificate(files: PairFiles): Certificate {
  const { certFile, keyFile } = files
  const cert = readPem(certFile, 'a PEM certificate chain')
  const key = readPem(keyFile, 'a PEM private key')
  try {
    const context = createSecureContext({ cert, key })
    const leaf = new X509Certificate(cert)
    return {
      files,
      cert,
      key,
      context,
      names: dnsNames(leaf.subjectAltName ?? ''),
      startsAt: Date.parse(leaf.validFrom),
      expiresAt: Date.parse(leaf.validTo),
    }
  } catch (cause) {
    const both = certFile === keyFile ? `${certFile} does` : `${certFile} and ${keyFile} do`
    throw new CertificateError([`${both} not make a usable pair; expected a PEM chain and its own key`], {
      cause,
    })
  }
}

/** Reads `DNS:a.example.com, IP Address:…`; a value in quotes is not a name that a client could ask for. */
function dnsNames(alternative: string): string[] {
  return alternative
    .split(', ')
    .map((each) => /^DNS:([\w.*-]+)$/.exec(each)?.[1]?.toLowerCase())
    .filter((name) => name !== undefined)
}

function readPem(file: string, expected: string): Buffer {
  return attempt(
    () => readFileSync(file),
    (reason) => `${file}: cannot be read (${reason}); expected ${expected}`,
  )
}

/**
 * The pairs of a folder: `NAME.crt` with `NAME.key`; `NAME.pem` with `NAME.key`, or with the key in it; and the same
 * in its folders, where `fullchain.pem` goes with `privkey.pem`. Names that begin with a dot are left out.
 *
 * @throws CertificateError where it cannot be read
 */
export function pairsIn(folder: string): PairFiles[] {
  const entries = list(folder)
  const below = entries.filter((entry) => isFolder(folder, entry)).map(({ name }) => name)
  return [
    ...pairsOf(folder, '', namesOf(entries)),
    ...below.flatMap((name) => pairsOf(folder, name, namesOf(list(join(folder, name))))),
  ].sort((a, b) => (a.name < b.name ? -1 : 1))
}

function pairsOf(folder: string, sub: string, names: ReadonlySet<string>): PairFiles[] {
  const pair = (cert: string, key: string): PairFiles => ({
    name: join(sub, cert),
    certFile: join(folder, sub, cert),
    keyFile: join(folder, sub, key),
  })
  // As certbot keeps them, beside files that hold a part of it each.
  if (names.has('fullchain.pem') && names.has('privkey.pem')) return [pair('fullchain.pem', 'privkey.pem')]
  return [...names].flatMap((name) => {
    const key = `${basename(basename(name, '.crt'), '.pem')}.key`
    if (name.endsWith('.crt')) return [pair(name, key)]
    return name.endsWith('.pem') ? [pair(name, names.has(key) ? key : name)] : []
  })
}

function list(folder: string): Dirent[] {
  return attempt(
    () => readdirSync(folder, { withFileTypes: true }).filter(({ name }) => !name.startsWith('.')),
    (reason) => `${folder}: cannot be read (${reason}); expected a folder of certificates and keys`,
  )
}

function namesOf(entries: readonly Dirent[]): ReadonlySet<string> {
  return new Set(entries.map(({ name }) => name))
}

function isFolder(folder: string, entry: Dirent): boolean {
  if (!entry.isSymbolicLink()) return entry.isDirectory()
  try {
    return statSync(join(folder, entry.name)).isDirectory()
  } catch {
    return false
  }
}

/** Of both files (core/file-mark.ts). */
export function pairMark({ certFile, keyFile }: PairFiles): string {
  return `${fileMarkSync(certFile)} ${fileMarkSync(keyFile)}`
}

function attempt<T>(read: () => T, problem: (reason: string) => string): T {
  try {
    return read()
  } catch (cause) {
    const reason = cause instanceof Error && 'code' in cause ? String(cause.code) : 'unreadable'
    throw new CertificateError([problem(reason)], { cause })
  }
}
