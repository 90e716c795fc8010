/** The last moment that a Date can hold, milliseconds since the epoch (ECMA-262, section 21.4.1.1). */
export const MAX_DATE_MS = 8.64e15

/**
 * A moment in ISO 8601. A token may end after the last moment that a Date can hold: then that one is shown.
 *
 * @param ms since the epoch; not NaN
 */
export function isoTime(ms: number): string {
  return new Date(Math.max(-MAX_DATE_MS, Math.min(ms, MAX_DATE_MS))).toISOString()
}
