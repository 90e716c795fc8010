import type { Scheduler } from '../core/scheduler.ts'
import type { ServerConnection } from './connection.ts'

/** A connection that is being made is given up after so long without a word of the server's. */
export const SILENCE_MS = 1000

/** And after this, where the URL does not say. */
const OPENING_MAX_MS = 10_000

/**
 * A busy server takes its time and says something now and then; one that is frozen says nothing.
 *
 * @param limitMs `connect_timeout` of the URL, or null
 * @returns ends the watch
 */
export function limitOpening(
  connection: Pick<ServerConnection, 'bytesRead'>,
  limitMs: number | null,
  scheduler: Scheduler,
  onLate: () => void,
): () => void {
  const end = scheduler.now() + (limitMs ?? OPENING_MAX_MS)
  let heard = -1
  let cancel = () => {}
  function look(): void {
    const { bytesRead } = connection
    const left = end - scheduler.now()
    if (bytesRead === heard || left <= 0) {
      onLate()
      return
    }
    heard = bytesRead
    cancel = scheduler.after(Math.min(SILENCE_MS, left), look)
  }
  look()
  return () => cancel()
}
