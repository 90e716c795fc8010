import type { TokenSpans } from './token-spans.ts'

/** Below this on average it costs less to copy slices together than to hand them on one by one. */
const SMALL = 1024

const NONE: readonly Buffer[] = []

/**
 * The bytes of body that llhttp found in a piece. A peer that sends a byte a chunk would otherwise make some ten
 * thousand writes of one read.
 *
 * @param shift added to an address gives an offset in `chunk`
 */
export function joinSmallSlices(chunk: Buffer, shift: number, spans: TokenSpans): readonly Buffer[] {
  const { bodies, bodyCount } = spans
  if (bodyCount === 0) return NONE
  const slices: Buffer[] = []
  let total = 0
  for (let i = 0; i < bodyCount; i += 2) total += bodies[i + 1]! - bodies[i]!
  if (bodyCount === 2 || total >= (bodyCount / 2) * SMALL) {
    for (let i = 0; i < bodyCount; i += 2)
      slices.push(chunk.subarray(bodies[i]! + shift, bodies[i + 1]! + shift))
    return slices
  }
  const joined = Buffer.allocUnsafe(total)
  for (let i = 0, at = 0; i < bodyCount; i += 2) {
    at += chunk.copy(joined, at, bodies[i]! + shift, bodies[i + 1]! + shift)
  }
  slices.push(joined)
  return slices
}
