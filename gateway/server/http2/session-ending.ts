import type { ServerHttp2Session } from 'node:http2'
import type { TLSSocket } from 'node:tls'
import type { Scheduler } from '../../core/scheduler.ts'

export interface EndingLimits {
  /** How long a client may read nothing of its answer. */
  readonly requestTimeoutMs: number
  readonly scheduler: Scheduler
}

/** How long a client may take to close what the gateway has closed. */
const CLOSE_TIMEOUT_MS = 1000

/** How a connection of HTTP/2 ends. */
export interface SessionEnding {
  /** How many streams are open. */
  readonly streams: number
  onStreamOpened(): void
  onStreamClosed(): void
  /** Tells the client to open no more streams (GOAWAY). The connection ends after its last stream. */
  closeWhenStreamsEnd(): void
  /** The connection will end: from now on the client has a limited time to close it. */
  limitClosing(): void
  onSessionClosed(): void
}

/**
 * Node closes its half of a connection and waits for the client's half. If the socket were destroyed too early, data in
 * the kernel would be lost. So an idle client is sent a PING, whose answer shows that everything sent before has arrived
 * (RFC 9113, section 6.7). A client that does not answer, or does not close after its last stream, gets as much time
 * as for reading an answer.
 */
export function createSessionEnding(
  session: ServerHttp2Session,
  socket: TLSSocket,
  { requestTimeoutMs, scheduler }: EndingLimits,
): SessionEnding {
  let streams = 0
  let begun = 0
  let idleSince = scheduler.now()
  let isClosing = false
  let cancel: (() => void) | null = null

  function limitClosing(): void {
    cancel ??= scheduler.after(requestTimeoutMs, onLate)
  }

  /** A client has as long for the rest of its last answer as for any answer. */
  function onLate(): void {
    const left = streams > 0 ? requestTimeoutMs : idleSince + requestTimeoutMs - scheduler.now()
    if (left <= 0) socket.destroy()
    else cancel = scheduler.after(left, onLate)
  }

  /** @param arrived whether the client is known to have everything that was sent */
  function close({ arrived }: { readonly arrived: boolean }): void {
    if (session.destroyed) return
    session.close()
    if (!arrived) return
    cancel?.()
    cancel = scheduler.after(CLOSE_TIMEOUT_MS, () => socket.destroy())
  }

  /** The answer to a PING does not cover what was sent after it. */
  function pingAndClose(): void {
    const before = begun
    session.ping((error) => close({ arrived: error === null && begun === before }))
  }

  return {
    get streams() {
      return streams
    },
    onStreamOpened() {
      begun++
      streams++
    },
    onStreamClosed() {
      streams--
      idleSince = scheduler.now()
    },
    closeWhenStreamsEnd() {
      if (isClosing || session.destroyed) return
      isClosing = true
      limitClosing()
      // After a GOAWAY Node reads on only as long as a stream is open, so the PING has to come before it.
      if (begun === 0) close({ arrived: true })
      else if (streams > 0 || session.closed) close({ arrived: false })
      else pingAndClose()
    },
    limitClosing,
    onSessionClosed: () => cancel?.(),
  }
}
