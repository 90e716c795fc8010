import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import type { Finding } from './file-problems.ts'

/** Names of files as an upstream's `tls` has them; any may be of another kind. */
export type TlsFileNames = Readonly<Record<string, unknown>>

const TLS_FILES = ['caFile', 'certFile', 'keyFile'] as const

type TlsFile = (typeof TLS_FILES)[number]

/**
 * Looks at the files that an upstream names. What cannot be loaded is told with the rest, not by the first
 * connection to a target.
 *
 * @param folder that relative names are relative to
 */
export function checkTlsFiles(
  tls: TlsFileNames,
  folder: string,
): (Omit<Finding, 'path'> & { readonly key: TlsFile })[] {
  const loaded: { certFile?: X509Certificate; keyFile?: KeyObject } = {}
  const findings = TLS_FILES.flatMap((key) => {
    const name = tls[key]
    if (typeof name !== 'string' || name === '' || name.includes('\0')) return []
    const path = resolve(folder, name)
    try {
      const pem = readFileSync(path, 'utf8')
      if (key === 'keyFile') loaded.keyFile = createPrivateKey(pem)
      else if (key === 'certFile') loaded.certFile = new X509Certificate(pem)
      else new X509Certificate(pem)
      return []
    } catch (error) {
      return [{ key, ...foundInstead(key, path, error) }]
    }
  })
  const { certFile, keyFile } = loaded
  if (certFile === undefined || keyFile === undefined || certFile.checkPrivateKey(keyFile)) return findings
  const expected = 'the key of the certificate in "certFile"'
  return [...findings, { key: 'keyFile', found: 'the key of another certificate', expected }]
}

function foundInstead(key: TlsFile, path: string, error: unknown): Pick<Finding, 'found' | 'expected'> {
  if (error instanceof Error && 'syscall' in error && 'code' in error) {
    return { found: `${path} (${String(error.code)})`, expected: 'a readable file' }
  }
  const expected = key === 'keyFile' ? 'a private key in PEM, without a passphrase' : 'certificates in PEM'
  return { found: `${path}, which holds something else`, expected }
}
