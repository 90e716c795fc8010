import type { Scheduler } from '../core/scheduler.ts'
import type { ServerConnection } from './connection.ts'

/**
 * How long a server may take to act on a cancel request before this side closes its half of the connection. A pooler
 * whose client does so drops its own connection to the server, where the statement may go on.
 */
const CANCEL_TIMEOUT_MS = 5000

/** A pooler may begin a statement only after its cancel request has come, so the request is sent again after this time. */
const CANCEL_AGAIN_MS = 100

/** After this time a connection counts as gone though the server has not closed its side. */
const FORGET_MS = 60_000

/** @param how `closeWhenIdle` where no statement is under way */
export function closeConnection(
  connection: ServerConnection,
  how: 'closeWhenIdle' | 'halfClose',
  scheduler: Scheduler,
): void {
  connection[how]()
  const cancel = scheduler.after(FORGET_MS, () => connection.destroy())
  void connection.closed.then(cancel)
}

/**
 * Cancels the statement under way at the server, and then closes the connection.
 *
 * @param statement settles with the statement
 */
export function cancelAndClose(
  connection: ServerConnection,
  statement: Promise<unknown>,
  scheduler: Scheduler,
): void {
  let over = false
  let cancelAgain = () => {}
  async function sendCancel(): Promise<void> {
    await connection.cancel()
    if (!over) cancelAgain = scheduler.after(CANCEL_AGAIN_MS, () => void sendCancel())
  }
  const cancelTimeout = scheduler.after(CANCEL_TIMEOUT_MS, () => {
    over = true
    closeConnection(connection, 'halfClose', scheduler)
  })
  const onSettled = () => {
    over = true
    cancelTimeout()
    cancelAgain()
    closeConnection(connection, 'closeWhenIdle', scheduler)
  }
  statement.then(onSettled, onSettled)
  void sendCancel()
}

/** Ends when all of these are closed, or when the time is over; what is open then is closed at this side alone. */
export async function awaitClosed(
  connections: readonly ServerConnection[],
  timeoutMs: number,
): Promise<void> {
  const timeout = Promise.withResolvers<void>()
  const timer = setTimeout(timeout.resolve, timeoutMs)
  await Promise.race([Promise.all(connections.map(({ closed }) => closed)), timeout.promise])
  clearTimeout(timer)
  for (const connection of connections) connection.destroy()
}
