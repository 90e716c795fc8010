import { createSeries } from './series.ts'
import type { Register } from './traffic-metrics.ts'

interface Certificates {
  /** Those in force; `expiresAt` in epoch milliseconds. */
  readonly all: readonly { readonly files: { readonly name: string }; readonly expiresAt: number }[]
  /** Files that cannot be used. */
  readonly faults: readonly { readonly name: string }[]
}

/** Declares the metrics of certificates. @returns updates them, to be called when a report is made */
export function createCertificateMetrics(register: Register): (certificates: Certificates) => void {
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
  const usable = register(
    createSeries({
      name: 'gateway_tls_certificate_file_usable',
      help: '1 where what is in this file is in force, 0 where it cannot be used, and the one before stays.',
      type: 'gauge',
      labels: ['file'],
      aggregator: 'min',
    }),
  )
  return ({ all, faults }) => {
    earliest.value = Math.min(...all.map(({ expiresAt }) => expiresAt)) / 1000
    for (const { files, expiresAt } of all) each.cell({ file: files.name }).value = expiresAt / 1000
    const names = new Set([...all.map(({ files }) => files.name), ...faults.map(({ name }) => name)])
    for (const file of names) usable.cell({ file }).value = faults.some(({ name }) => name === file) ? 0 : 1
    usable.prune(({ file }) => names.has(file))
    each.prune(({ file }) => all.some(({ files }) => files.name === file))
  }
}
