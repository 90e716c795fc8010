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

/** Of these Node takes the first field of a name (`IncomingMessage.headers`); those of any other name it joins. */
const NOT_JOINED = new Set([
  'age',
  'authorization',
  'content-length',
  'content-type',
  'etag',
  'expires',
  'from',
  'host',
  'if-modified-since',
  'if-unmodified-since',
  'last-modified',
  'location',
  'max-forwards',
  'proxy-authorization',
  'referer',
  'retry-after',
  'server',
  'user-agent',
])

/** Names of nearly all requests, by their spellings: a look here costs a third of a lower-case copy. */
const LOWER_CASE: ReadonlyMap<string, string> = new Map(
  (
    'Host User-Agent Accept Accept-Encoding Accept-Language Connection Cookie Cache-Control Pragma Referer Origin DNT ' +
    'Content-Type Content-Length Transfer-Encoding Authorization Upgrade Upgrade-Insecure-Requests Expect Range TE ' +
    'If-None-Match If-Modified-Since Sec-Fetch-Dest Sec-Fetch-Mode Sec-Fetch-Site Sec-Fetch-User Sec-CH-UA Priority ' +
    'Sec-CH-UA-Mobile Sec-CH-UA-Platform X-Requested-With X-Forwarded-For X-Forwarded-Proto X-Forwarded-Host ' +
    'X-Real-IP X-Request-Id Traceparent Tracestate'
  )
    .split(' ')
    .flatMap((name) => [name, name.toLowerCase()])
    .map((name) => [name, name.toLowerCase()]),
)

/**
 * Makes objects without a prototype, since a field named `__proto__` or `constructor` is one like any other. Those of
 * `Object.create(null)` are hash tables from the start, which cost twice as much to fill.
 */
const FieldsObject = function FieldsObject() {} as unknown as new () => Record<string, string>
FieldsObject.prototype = Object.create(null)

/** Joins the fields of one name (RFC 9110, section 5.2) as Node does. @param flat name, value pairs */
export function namedFields(flat: readonly string[]): NamedFields {
  const fields = new FieldsObject()
  for (let i = 0; i < flat.length; i += 2) {
    const name = LOWER_CASE.get(flat[i]!) ?? flat[i]!.toLowerCase()
    const before = fields[name]
    if (before === undefined) fields[name] = flat[i + 1]!
    else if (!NOT_JOINED.has(name)) fields[name] = `${before}${name === 'cookie' ? '; ' : ', '}${flat[i + 1]}`
  }
  return fields
}
