import type { ServerHttp2Session } from 'node:http2'
import type { TLSSocket } from 'node:tls'
import type { Scheduler } from '../../core/scheduler.ts'

export interface EndingLimits {
  /** What a client may take to read its answer on. */
  readonly requestTimeoutMs: number
  readonly scheduler: Scheduler
}

/** How long a client may take to close what the gateway has closed. */
const LEAVE_MS = 1000

/** How a connection comes to its end. */
export interface Ending {
  /** Those that are open. */
  readonly streams: number
  begun(): void
  ended(): void
  /** Tells the client that the gateway is leaving; the connection ends once its streams are over. */
  leave(): void
  /** It will end: a client that does not close it is not waited for without end. */
  bound(): void
  over(): void
}

/**
 * Node closes its half of a connection and waits for the client's. Closed for good too early, what the kernel has not
 * sent yet is lost with it. An idle client is asked by a PING, which is answered by who has got all that came before it
 * (RFC 9113, section 6.7); whoever does not answer, or does not close after its last stream, is given the time that a
 * client may take for an answer.
 */
export function endingOf(
  session: ServerHttp2Session,
  socket: TLSSocket,
  { requestTimeoutMs, scheduler }: EndingLimits,
): Ending {
  let streams = 0
  let begun = 0
  let idleSince = scheduler.now()
  let leaving = false
  let cancel: (() => void) | null = null

  function bound(): void {
    cancel ??= scheduler.after(requestTimeoutMs, late)
  }

  /** As long as a client may take for its answer it may take for the rest of its last one. */
  function late(): void {
    const left = streams > 0 ? requestTimeoutMs : idleSince + requestTimeoutMs - scheduler.now()
    if (left <= 0) socket.destroy()
    else cancel = scheduler.after(left, late)
  }

  function close(everythingArrived: boolean): void {
    if (session.destroyed) return
    session.close()
    if (!everythingArrived) return
    cancel?.()
    cancel = scheduler.after(LEAVE_MS, () => socket.destroy())
  }

  /** The answer to a PING says nothing of what was sent after it. */
  function askAndClose(): void {
    const before = begun
    session.ping((error) => close(error === null && begun === before))
  }

  return {
    get streams() {
      return streams
    },
    begun() {
      begun++
      streams++
    },
    ended() {
      streams--
      idleSince = scheduler.now()
    },
    leave() {
      if (leaving || session.destroyed) return
      leaving = true
      bound()
      // Once there was a GOAWAY, Node reads on only as long as a stream is open: it has to be asked before.
      if (begun === 0) close(true)
      else if (streams > 0 || session.closed) close(false)
      else askAndClose()
    },
    bound,
    over: () => cancel?.(),
  }
}
