import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import type { Finding } from './file-problems.ts'

/** The `tls` of an upstream as it stands in the file. Its values may be of any type. */
export type TlsFileNames = Readonly<Record<string, unknown>>

const TLS_FILES = ['caFile', 'certFile', 'keyFile'] as const

type TlsFile = (typeof TLS_FILES)[number]

/**
 * Checks the files that an upstream's `tls` names, so that a file that cannot be loaded is reported with the other
 * problems and not when the first connection to a target fails.
 *
 * @param folder the folder to which relative names are relative
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
  return { found: `${path}, which contains something else`, expected }
}
