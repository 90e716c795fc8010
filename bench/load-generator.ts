import { runAutocannon } from './autocannon.ts'
import type { Load, LoadResult } from './load-shape.ts'
import type { Machine } from './machine.ts'
import { runWrk } from './wrk.ts'

/** Keeps all connections busy: each sends its next request when the previous one is answered. */
export type LoadGenerator = (load: Load) => Promise<LoadResult>

export function chooseLoadGenerator(kind: Machine['loadGenerator']): LoadGenerator {
  return kind === 'wrk' ? runWrk : runAutocannon
}
