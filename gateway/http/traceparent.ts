import { randomFillSync } from 'node:crypto'

/** The trace context of an exchange (W3C Trace Context, section 3.2). */
export interface TraceContext {
  /** The client's value, or that of a new trace. */
  readonly traceparent: string
  /** True where the gateway started the trace, since the client sent no usable `traceparent`. */
  readonly isNew: boolean
}

/** Makes the ids of traces and spans. */
export interface TraceIds {
  /** Eight random bytes, as 16 lower-case hexadecimal digits. */
  spanId(): string
  /**
   * Continues the client's trace where it sent a usable `traceparent`, and starts a new one otherwise.
   *
   * @param received the field's value; several fields are joined by commas
   */
  continueOrStart(received: string | readonly string[] | undefined): TraceContext
}

/**
 * Version, trace id, parent id and flags (section 3.2.2). Version ff is invalid, and so are ids that consist of zeros.
 * Versions after 00 may add fields behind a dash. A comma means that the field was sent twice, which is invalid.
 */
const USABLE =
  /^(?:00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}|(?!00|ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-[^,]*)?)$/

/** Random bytes are generated in blocks of this size; a call for each trace would cost 3 microseconds instead of 0.2. */
const POOL_BYTES = 6144

const TRACE_ID_BYTES = 16
const SPAN_ID_BYTES = 8

/** Takes random ids from a pool, which is refilled when it is used up. */
export function createTraceIds(): TraceIds {
  const pool = Buffer.allocUnsafeSlow(POOL_BYTES)
  let at = POOL_BYTES

  function takeRandomHex(bytes: number): string {
    if (at + bytes > POOL_BYTES) {
      randomFillSync(pool)
      at = 0
    }
    const from = at
    at += bytes
    return pool.toString('hex', from, at)
  }

  return {
    spanId: () => takeRandomHex(SPAN_ID_BYTES),
    continueOrStart(received) {
      if (typeof received === 'string' && USABLE.test(received))
        return { traceparent: received, isNew: false }
      const ids = takeRandomHex(TRACE_ID_BYTES + SPAN_ID_BYTES)
      // The flags mean "not sampled", as section 3.2.2.5.1 requires of a trace that is not recorded.
      return { traceparent: `00-${ids.slice(0, 32)}-${ids.slice(32)}-00`, isNew: true }
    },
  }
}

/** The trace id of a usable `traceparent`. */
export function traceIdOf(traceparent: string): string {
  return traceparent.slice(3, 35)
}

/** True where the caller may have recorded the trace: bit 0 of the flags (section 3.2.2.5.1). */
export function isSampled(traceparent: string): boolean {
  // The last hexadecimal digit of the flags. 1, 3, 5, 7 and 9 have odd character codes; b, d and f have even ones.
  const digit = traceparent.charCodeAt(54)
  return digit < 58 ? (digit & 1) === 1 : (digit & 1) === 0
}
