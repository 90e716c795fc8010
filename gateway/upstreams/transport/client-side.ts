import type { FieldGroup } from '../../http/field-group.ts'

/** What an attempt uses of the client's side of an exchange. Listeners implement it through `exchange/inbound.ts`. */
export interface AttemptClient {
  readonly request: ClientRequest
  readonly response: ClientResponse
  readonly record: AttemptRecord
  /** True where the client's connection is to end with this response; asked when the response begins. */
  readonly isLast: () => boolean
  /** Set for the time of the attempt. */
  watcher: ClientWatcher | null
}

export interface AttemptRecord {
  readonly requestId: string
  /** Bytes of the request's body that were taken from the client so far; kept when an exchange breaks off. */
  bytesIn: number
  /** Bytes of the response's body that were passed to the client so far. */
  bytesOut: number
  /** The response is a stream of server-sent events. */
  eventStream: boolean
}

export interface ClientWatcher {
  /** The client's response has closed: sent to its end, or with the connection. */
  clientClosed(): void
}

/** The request of a client. */
export interface ClientRequest extends BodySource {
  readonly method: string
  /** True once the whole request has arrived. */
  readonly complete: boolean
  /** True where the client broke its request off while it was read. */
  readonly brokenOff: boolean
}

/** A body that can be paused. */
export interface BodySource {
  /** True once all of the body was given to a reader. */
  readonly bodyRead: boolean
  /**
   * Gives the body to `reader`, from the first piece that nobody has taken yet. It flows after `resume`.
   *
   * @returns stops it
   */
  readBody(reader: BodyReader): () => void
  pause(): void
  /** Lets the body flow; where nobody reads it, it is thrown away. */
  resume(): void
}

export interface BodyReader {
  onChunk(chunk: Buffer): void
  /** Called once the body was given to its end, be it empty. */
  onEnd(): void
  /** The client broke its request off; may be called after reading was stopped. */
  onBrokenOff(error: Error): void
}

/** The response to a client, as an attempt writes it. */
export interface ClientResponse {
  readonly headersSent: boolean
  /** True where the client will get nothing more. */
  readonly destroyed: boolean
  /** True once all of the response was handed to the operating system. */
  readonly writableFinished: boolean
  /** False for HTTP/1.0, which knows no chunks, and so no trailers. */
  readonly carriesTrailers: boolean
  /** The client's connection ends with this response, where the protocol has it so; to be called before `writeHead`. */
  endConnection(): void
  /** Sends an interim response (RFC 9110, section 15.2) where the client's protocol has one. */
  inform(status: number, fields: string[]): void
  /**
   * Sets the head, which goes out with the first piece of the body or by `flushHeaders`.
   *
   * @param fields flat name, value pairs
   * @param first fields that stand before them
   * @throws where one cannot be sent
   */
  writeHead(
    status: number,
    reason: string | undefined,
    fields: readonly string[],
    first?: FieldGroup | null,
  ): void
  flushHeaders(): void
  /** @returns false where the client takes no more at present: `onDrain` tells when it does */
  write(chunk: Buffer): boolean
  /** @param trailers to be sent with the end; must be called before it */
  addTrailers(trailers: [string, string][]): void
  end(body?: Buffer | string | null, encoding?: BufferEncoding): void
  /** Calls `onDrained` once, when the client takes more again. */
  onDrain(onDrained: () => void): void
  /** Ends the response unfinished, so that the client can tell it from a whole one. */
  abort(): void
}
