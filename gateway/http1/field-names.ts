/** Fields that decide where a message ends. */
export const OTHER = 0
export const CONTENT_LENGTH = 1
export const TRANSFER_ENCODING = 2

export type Role = typeof OTHER | typeof CONTENT_LENGTH | typeof TRANSFER_ENCODING

export interface FieldName {
  /** As it was spelled. */
  readonly text: string
  readonly role: Role
}

const SLOTS = 1024

interface KnownName extends FieldName {
  readonly bytes: Uint8Array
}

const NO_NAME: KnownName = { text: '', role: OTHER, bytes: new Uint8Array(0) }

/** Longer names are read anew each time. */
const LONGEST = 64

/**
 * Names of fields in the spellings that arrive again and again, so that a name costs no new string.
 *
 * Each spelling has two slots that it may take, by its length and three of its characters. The names below are there
 * from the start, and no slot changes hands: a client that sends thousands of names can take free slots, and no more.
 */
export class FieldNames {
  readonly #slots: KnownName[] = new Array(SLOTS).fill(NO_NAME)

  constructor() {
    for (const name of USUAL.split(' ')) {
      this.#learn(Buffer.from(name))
      this.#learn(Buffer.from(name.toLowerCase()))
    }
  }

  /** The name that stands in `bytes` from `start` to `end`; not empty. */
  read(bytes: Buffer, start: number, end: number): FieldName {
    const slot = slotOf(bytes, start, end)
    const first = this.#slots[slot]!
    if (stands(first.bytes, bytes, start, end)) return first
    const second = this.#slots[slot ^ 1]!
    if (stands(second.bytes, bytes, start, end)) return second
    return this.#learn(bytes.subarray(start, end))
  }

  #learn(bytes: Buffer): FieldName {
    const text = bytes.toString('latin1')
    const name = { text, role: roleOf(text), bytes: Uint8Array.from(bytes) }
    const slot = slotOf(bytes, 0, bytes.length)
    const free = this.#slots[slot] === NO_NAME ? slot : slot ^ 1
    if (bytes.length <= LONGEST && this.#slots[free] === NO_NAME) this.#slots[free] = name
    return name
  }
}

/** Comparing bytes costs half of what `startsWith` does. */
function stands(known: Uint8Array, bytes: Buffer, start: number, end: number): boolean {
  const { length } = known
  if (length !== end - start) return false
  for (let i = 0; i < length; i++) if (known[i] !== bytes[start + i]) return false
  return true
}

function slotOf(bytes: Buffer, start: number, end: number): number {
  const length = end - start
  const first = bytes[start]!
  const middle = bytes[start + (length >> 1)]!
  const last = bytes[end - 1]!
  return (length * 67 + first * 31 + middle * 7 + last * 129) & (SLOTS - 1)
}

function roleOf(name: string): Role {
  if (name.length === 14) return name.toLowerCase() === 'content-length' ? CONTENT_LENGTH : OTHER
  if (name.length === 17) return name.toLowerCase() === 'transfer-encoding' ? TRANSFER_ENCODING : OTHER
  return OTHER
}

/** What browsers, their servers and proxies before us send. */
const USUAL =
  'Host User-Agent Accept Accept-Encoding Accept-Language Connection Cookie Cache-Control Pragma Referer Origin ' +
  'Content-Type Content-Length Transfer-Encoding Authorization Upgrade Upgrade-Insecure-Requests Expect Range TE ' +
  'If-None-Match If-Modified-Since If-Range If-Match Sec-Fetch-Dest Sec-Fetch-Mode Sec-Fetch-Site Sec-Fetch-User ' +
  'Sec-CH-UA Sec-CH-UA-Mobile Sec-CH-UA-Platform Sec-GPC Priority DNT X-Requested-With X-Forwarded-For ' +
  'X-Forwarded-Proto X-Forwarded-Host X-Real-IP X-Request-Id Forwarded Traceparent Tracestate ' +
  'Sec-WebSocket-Key Sec-WebSocket-Version Sec-WebSocket-Extensions Sec-WebSocket-Protocol Keep-Alive ' +
  'Access-Control-Request-Method Access-Control-Request-Headers ' +
  'Date Server Set-Cookie Location ETag Last-Modified Expires Age Vary Via Content-Encoding Content-Language ' +
  'Content-Disposition Content-Security-Policy Content-Range Accept-Ranges Allow Retry-After WWW-Authenticate Link ' +
  'Strict-Transport-Security X-Content-Type-Options X-Frame-Options X-XSS-Protection Referrer-Policy X-Powered-By ' +
  'Permissions-Policy Access-Control-Allow-Origin Access-Control-Allow-Credentials Access-Control-Allow-Methods ' +
  'Access-Control-Allow-Headers Access-Control-Expose-Headers Access-Control-Max-Age Alt-Svc Trailer Server-Timing'
