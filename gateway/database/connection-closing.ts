import type { Scheduler } from '../core/scheduler.ts'
import type { ServerConnection } from './connection.ts'

/**
 * How long a server may take to act on a cancel request before this side hangs up. A pooler that is hung up on drops its
 * connection to the server, whose session may go on.
 */
const CANCEL_MS = 5000

/** A pooler may have begun a statement only after its cancel request came: it is sent again after this time. */
const CANCEL_AGAIN_MS = 100

/** After this time a connection that was ended counts as gone, though its server has not said so. */
const FORGET_MS = 60_000

/** @param how `leave` where no statement is under way */
export function endConnection(
  connection: ServerConnection,
  how: 'leave' | 'hangUp',
  scheduler: Scheduler,
): void {
  connection[how]()
  const cancel = scheduler.after(FORGET_MS, () => connection.destroy())
  void connection.closed.then(cancel)
}

/** Has the server give up the statement under way, and ends the connection then. */
export function cancelAndEnd(
  connection: ServerConnection,
  underWay: Promise<unknown>,
  scheduler: Scheduler,
): void {
  let over = false
  let cancelAgain = () => {}
  async function ask(): Promise<void> {
    await connection.cancel()
    if (!over) cancelAgain = scheduler.after(CANCEL_AGAIN_MS, () => void ask())
  }
  const cancelHangUp = scheduler.after(CANCEL_MS, () => {
    over = true
    endConnection(connection, 'hangUp', scheduler)
  })
  const answered = () => {
    over = true
    cancelHangUp()
    cancelAgain()
    endConnection(connection, 'leave', scheduler)
  }
  underWay.then(answered, answered)
  void ask()
}
