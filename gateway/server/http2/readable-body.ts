import type { Readable } from 'node:stream'
import type { BodyReader } from '../../exchange/inbound.ts'

/** A request that is a stream of its own body. */
export type ReadableRequest = Readable & { readonly complete: boolean }

/** Gives the pieces of a stream to `reader`. @returns stops it */
export function readBodyOf(request: ReadableRequest, reader: BodyReader): () => void {
  const onData = (chunk: Buffer) => reader.onChunk(chunk)
  const onEnd = () => reader.onEnd()
  // A request that closes before its end was broken off, also where Node has no error for it.
  const onClose = () => {
    if (!request.complete) reader.onBrokenOff(new Error('the client broke its request off'))
  }
  request.on('data', onData)
  request.on('end', onEnd)
  // Not removed afterwards: an error that comes later must still have a handler.
  request.on('error', (error) => reader.onBrokenOff(error))
  request.on('close', onClose)
  return () => {
    request.off('data', onData)
    request.off('end', onEnd)
    request.off('close', onClose)
  }
}

/** Discards the rest of a paused body. */
export function discardBodyOf(request: Readable): void {
  if (request.readableFlowing === false) request.resume()
}
