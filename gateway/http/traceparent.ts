import { randomFillSync } from 'node:crypto'

/** A trace context of an exchange (W3C Trace Context, section 3.2). */
export interface TraceContext {
  /** The field's value, as it came or as it was begun. */
  readonly traceparent: string
  /** True where it is the gateway's: the client sent none, or none that can be continued. */
  readonly begun: boolean
}

/** Makes what a trace and its spans are named by. */
export interface TraceIds {
  /** Eight random bytes, as 16 lower-case hexadecimal digits. */
  spanId(): string
  /** Continues what the client sent, or begins a trace. @param received the field as it came, joined by commas */
  contextOf(received: string | string[] | undefined): TraceContext
}

/**
 * Version, trace id, parent id and flags; section 3.2.2. Version ff is invalid, and so are ids of nothing but
 * zeros. Later versions may add fields behind a dash, version 00 may not. A field that came twice holds a comma.
 */
const USABLE =
  /^(?:00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}|(?!00|ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-[^,]*)?)$/

/** One call of the random generator for so many bytes: a call for each trace would cost ten times as much. */
const POOL_BYTES = 6144

const TRACE_ID_BYTES = 16
const SPAN_ID_BYTES = 8

/** Random ids from a pool that is filled again as it runs out. */
export function createTraceIds(): TraceIds {
  const pool = Buffer.allocUnsafeSlow(POOL_BYTES)
  let at = POOL_BYTES

  function take(bytes: number): string {
    if (at + bytes > POOL_BYTES) {
      randomFillSync(pool)
      at = 0
    }
    const from = at
    at += bytes
    return pool.toString('hex', from, at)
  }

  return {
    spanId: () => take(SPAN_ID_BYTES),
    contextOf(received) {
      if (typeof received === 'string' && USABLE.test(received))
        return { traceparent: received, begun: false }
      const ids = take(TRACE_ID_BYTES + SPAN_ID_BYTES)
      // Not sampled, which section 3.2.2.5.1 asks of a trace that is begun without being recorded.
      return { traceparent: `00-${ids.slice(0, 32)}-${ids.slice(32)}-00`, begun: true }
    },
  }
}

/** The trace id of a usable `traceparent`. */
export function traceIdOf(traceparent: string): string {
  return traceparent.slice(3, 35)
}

/** True where the caller may have recorded the trace: bit 0 of the flags (section 3.2.2.5.1). */
export function isSampled(traceparent: string): boolean {
  // The last digit of the flags: an odd one is 1, 3, 5, 7, 9, b, d or f.
  const digit = traceparent.charCodeAt(54)
  return digit < 58 ? (digit & 1) === 1 : (digit & 1) === 0
}
