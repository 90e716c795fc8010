import type { Scheduler } from '../core/scheduler.ts'
import type { ServerConnection } from './connection.ts'

/** A connection that is being made fails when the server has sent nothing for this long, in milliseconds. */
export const SILENCE_MS = 1000

/** The limit for the whole of it, where the URL names none. */
const DEFAULT_CONNECT_TIMEOUT_MS = 10_000

/**
 * Bounds the time until a connection is ready. Silence is bounded apart from the whole: a busy server takes its time but
 * sends something now and then, and a frozen one sends nothing.
 *
 * @param limitMs `connect_timeout` of the URL, or null
 * @param onTimeout called at most once
 * @returns ends the watch
 */
export function startConnectTimeout(
  connection: Pick<ServerConnection, 'bytesRead'>,
  limitMs: number | null,
  scheduler: Scheduler,
  onTimeout: () => void,
): () => void {
  const end = scheduler.now() + (limitMs ?? DEFAULT_CONNECT_TIMEOUT_MS)
  let bytesBefore = -1
  let cancel = () => {}
  function check(): void {
    const { bytesRead } = connection
    const left = end - scheduler.now()
    if (bytesRead === bytesBefore || left <= 0) {
      onTimeout()
      return
    }
    bytesBefore = bytesRead
    cancel = scheduler.after(Math.min(SILENCE_MS, left), check)
  }
  check()
  return () => cancel()
}
