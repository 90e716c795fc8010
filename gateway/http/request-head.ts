/** Header fields by lower-case name; those of one name are joined (RFC 9110, section 5.2). */
export interface NamedFields {
  readonly [name: string]: string | readonly string[] | undefined
  readonly accept?: string | undefined
  readonly connection?: string | undefined
  readonly 'content-length'?: string | undefined
  readonly expect?: string | undefined
  readonly host?: string | undefined
  readonly origin?: string | undefined
  readonly 'transfer-encoding'?: string | undefined
  readonly upgrade?: string | undefined
  readonly 'user-agent'?: string | undefined
}

/** The head of a request, whatever protocol it came by. */
export interface RequestHead {
  readonly method: string
  /** The request target as it was sent (RFC 9112, section 3.2); over HTTP/2 its `:path`. */
  readonly target: string
  /** `1.0`, `1.1` or `2.0`. */
  readonly httpVersion: string
  /** Flat name, value pairs in order and as they were spelled. */
  readonly rawHeaders: readonly string[]
  readonly headers: NamedFields
}
