import type { ErrorCode } from '../core/errors.ts'
import type { Holdings } from '../core/holdings.ts'
import type { ConnectionEnds } from '../http/forwarded.ts'
import type { RequestHead } from '../http/request-head.ts'
import type { ClientRequest, ClientResponse } from '../upstreams/transport/client-side.ts'

export type { BodyReader } from '../upstreams/transport/client-side.ts'

/**
 * A request as the request path sees it. `server/http1/` and `server/http2/` implement it, and `explain/` for requests
 * that nobody sends; what differs between the protocols stays behind it.
 */
export interface InboundRequest extends RequestHead, ClientRequest {
  /** The client's connection. */
  readonly socket: ConnectionEnds & { readonly destroyed: boolean }
  /** What the client's connection holds; null where it carries one exchange at a time, and so needs no account. */
  readonly holdings: Holdings | null
  /** True where a body follows the head. */
  readonly hasBody: boolean
  /** Framing that a backend might read in another way than the listener did, for operators; null where it is plain. */
  readonly framingProblem: string | null
  /** Discards the rest of a body that its last reader has paused, since the connection would wait for it otherwise. */
  discardBody(): void
}

/** The response to an `InboundRequest`. */
export interface InboundResponse extends ClientResponse {
  readonly statusCode: number
  /** Registers who is called when something happens to the response. To be called once, before anything is sent. */
  setOwner(owner: ResponseOwner): void
  /** Lets a client send the body that it holds back until `100 Continue` (RFC 9110, section 10.1.1). */
  sendContinue(): void
  /**
   * Sends a whole response whether or not the request's body was read. Where the protocol needs it, an unread body is
   * read on for a while, so that the client gets to see the response.
   *
   * @param fields flat name, value pairs
   */
  sendWhole(status: number, fields: string[], body: Buffer | null): void
}

/** The exchange that a response belongs to, as its listener sees it. */
export interface ResponseOwner {
  /** The response has closed: sent to its end, or with the connection. Called once. */
  onClose(): void
  /**
   * The rest of the request cannot be read.
   *
   * @returns true where the client was answered with this code; false where a response had begun
   */
  onUnreadable(code: ErrorCode): boolean
}
