import type { PagesInForce } from '../core/error-pages/live-error-pages.ts'
import type { Readiness } from '../core/readiness.ts'
import type { RoutingInForce } from '../routing/live-routing.ts'
import type { ProcessMetrics } from '../telemetry/metrics/exposition.ts'
import type { Totals } from '../telemetry/metrics/totals.ts'
import type { ProcessStatus } from './status.ts'

/** What a serving process reports. Each part is made on request, since most of them take time. */
export interface Reports {
  readonly readiness: Readiness
  readonly metrics: ProcessMetrics
  readonly status: ProcessStatus
  readonly totals: Totals
  readonly routing: RoutingInForce
  /** Null where ERROR_PAGES_DIR is not set. */
  readonly errorPages: PagesInForce | null
}

export type Reporter = { readonly [Part in keyof Reports]: () => Promise<Reports[Part]> | Reports[Part] }
