import type { Certificate } from './certificates.ts'

/** Finds certificates by name. */
export interface CertificateIndex {
  readonly fallback: Certificate
  /** @param host lower case */
  find(host: string): Certificate
}

/**
 * Of several certificates for one name, as while one is renewed, that which ends last serves it.
 *
 * @param fallbackFile of the certificate for clients that name no host; null where the files' names decide
 */
export function indexCertificates(
  all: readonly Certificate[],
  fallbackFile: string | null,
): CertificateIndex {
  const byName = new Map<string, Certificate>()
  for (const certificate of all) {
    for (const name of certificate.names) {
      const other = byName.get(name)
      if (other === undefined || other.expiresAt < certificate.expiresAt) byName.set(name, certificate)
    }
  }
  const fallback = (all.find(({ files }) => files.name === fallbackFile) ??
    all.find(({ files }) => /^default(?:\/|\.)/.test(files.name)) ??
    all[0]) as Certificate
  return {
    fallback,
    find: (host) =>
      byName.get(host) ?? byName.get(`*${host.slice(Math.max(0, host.indexOf('.')))}`) ?? fallback,
  }
}
