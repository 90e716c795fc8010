import type { Socket } from 'node:net'

type WriteCallback = (error?: Error | null) => void

/** What of a socket is an implementer's (node:stream, "Implementing a writable stream"). */
interface WritableParts {
  _write(chunk: unknown, encoding: BufferEncoding, callback: WriteCallback): void
  _writev(chunks: unknown, callback: WriteCallback): void
}

/**
 * Lets a socket be read to its end though it cannot be written to any more. Node would destroy it with the error of the
 * write, and with it an answer that the system has received already: that of a target which refuses an upload and
 * closes (RFC 9112, section 9.3).
 *
 * @param onFailed called for each write that failed; nothing else is told of them
 */
export function keepReadingAfterFailedWrite(socket: Socket, onFailed: (error: Error) => void): void {
  const parts = socket as unknown as WritableParts
  const { _write, _writev } = parts
  // A stream has one write under way at a time, so one callback for all is enough.
  let callback: WriteCallback | null = null
  const onWritten: WriteCallback = (error) => {
    const waiting = callback!
    callback = null
    if (error !== null && error !== undefined && !socket.destroyed) onFailed(error)
    waiting()
  }
  parts._write = (chunk, encoding, done) => {
    callback = done
    _write.call(socket, chunk, encoding, onWritten)
  }
  parts._writev = (chunks, done) => {
    callback = done
    _writev.call(socket, chunks, onWritten)
  }
}
