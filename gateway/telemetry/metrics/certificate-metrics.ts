import { createSeries } from './series.ts'
import type { Register } from './traffic-metrics.ts'

interface CertificateEnd {
  readonly files: { readonly name: string }
  /** Epoch milliseconds. */
  readonly expiresAt: number
}

/** Declares the metrics of certificates. @returns updates them from the certificates in force */
export function createCertificateMetrics(
  register: Register,
): (store: { readonly all: readonly CertificateEnd[] }) => void {
  const earliest = register(
    createSeries({
      name: 'gateway_tls_certificate_expiry_timestamp_seconds',
      help: 'When the first of the certificates in force ends, seconds since the epoch; absent without TLS.',
      type: 'gauge',
      aggregator: 'min',
    }),
  ).cell()
  const each = register(
    createSeries({
      name: 'gateway_tls_certificate_file_expiry_timestamp_seconds',
      help: 'When the certificate in force that came from this file ends, seconds since the epoch.',
      type: 'gauge',
      labels: ['file'],
      aggregator: 'min',
    }),
  )
  return ({ all }) => {
    earliest.value = Math.min(...all.map(({ expiresAt }) => expiresAt)) / 1000
    for (const { files, expiresAt } of all) each.cell({ file: files.name }).value = expiresAt / 1000
    each.prune(({ file }) => all.some(({ files }) => files.name === file))
  }
}
