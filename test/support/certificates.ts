import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'

export interface Certificate {
  readonly certFile: string
  readonly keyFile: string
  readonly cert: Buffer
  readonly key: Buffer
}

export interface Authority extends Certificate {
  /**
   * @param names subject alternative names, such as `DNS:api.internal` or `IP:127.0.0.1`
   * @param days how long it is valid; two days where absent
   */
  issue(name: string, names: readonly string[], days?: number): Certificate
}

/** A certificate authority of the test's own, made with the `openssl` command. */
export function createAuthority(t: Test, name: string): Authority {
  const folder = mkdtempSync(join(tmpdir(), 'gateway-ca-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const file = (suffix: string) => join(folder, suffix)
  const openssl = (...args: string[]) => execFileSync('openssl', args, { stdio: 'pipe' })
  const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes']
  const load = (certFile: string, keyFile: string): Certificate => ({
    certFile,
    keyFile,
    cert: readFileSync(certFile),
    key: readFileSync(keyFile),
  })
  openssl(
    'req',
    '-x509',
    ...newKey,
    '-days',
    '2',
    '-subj',
    `/CN=${name}`,
    '-keyout',
    file('ca.key'),
    '-out',
    file('ca.pem'),
  )
  return {
    ...load(file('ca.pem'), file('ca.key')),
    issue(subject, names, days = 2) {
      const base = subject.replaceAll(/[^a-z0-9]/gi, '_')
      const [key, csr, cert, ext] = ['key', 'csr', 'pem', 'ext'].map((end) => file(`${base}.${end}`)) as [
        string,
        string,
        string,
        string,
      ]
      writeFileSync(ext, `subjectAltName=${names.join(',')}\n`)
      openssl('req', ...newKey, '-subj', `/CN=${subject}`, '-keyout', key, '-out', csr)
      openssl(
        'x509',
        '-req',
        '-in',
        csr,
        '-CA',
        file('ca.pem'),
        '-CAkey',
        file('ca.key'),
        '-CAcreateserial',
        '-days',
        String(days),
        '-extfile',
        ext,
        '-out',
        cert,
      )
      return load(cert, key)
    },
  }
}
