import type { Tracing } from '../exchange/tracing.ts'
import { tracingSettingsFrom } from '../settings/tracing-variables.ts'
import type { Settings } from '../settings/values.ts'
import type { Metrics } from '../telemetry/metrics/metrics.ts'
import type { OtlpTracingParts } from '../tracing/otlp-tracing.ts'

export interface LoadTracingParts extends Omit<OtlpTracingParts, 'settings' | 'counts'> {
  readonly settings: Settings
  readonly metrics: Metrics
}

/**
 * Loaded only where spans are exported: the packages for it take time and memory.
 *
 * @returns null where they are not
 */
export async function loadTracing({
  settings,
  metrics,
  ...parts
}: LoadTracingParts): Promise<Tracing | null> {
  const wanted = tracingSettingsFrom(settings)
  if (wanted === null) return null
  const { createOtlpTracing } = await import('../tracing/otlp-tracing.ts')
  return createOtlpTracing({ ...parts, settings: wanted, counts: metrics.spans() })
}
