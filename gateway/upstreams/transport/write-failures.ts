import type { Socket } from 'node:net'

type WriteCallback = (error?: Error | null) => void

/** The methods by which a stream writes (node:stream, "Implementing a writable stream"). */
interface WritableParts {
  _write(chunk: unknown, encoding: BufferEncoding, callback: WriteCallback): void
  _writev(chunks: unknown, callback: WriteCallback): void
}

/**
 * Keeps a socket open for reading after a write has failed. Node would destroy it, and with it an answer that the
 * system has already received: the 413 of a target that closes the connection amid an upload (RFC 9112, section 9.3).
 *
 * @param onFailed called for each write that failed, in place of the socket's `error` event
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
