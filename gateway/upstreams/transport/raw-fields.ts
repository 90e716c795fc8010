import type { Dispatcher } from './undici.ts'

/**
 * Fields of an answer as flat name, value pairs: undici gives an array of bytes for HTTP/1.1 and an object for HTTP/2.
 * Field values are latin1 on the wire.
 */
export function flatFields(raw: Dispatcher.DispatchController['rawHeaders']): string[] {
  const flat: string[] = []
  if (Array.isArray(raw)) {
    for (const item of raw) flat.push(typeof item === 'string' ? item : item.toString('latin1'))
    return flat
  }
  if (raw === null || raw === undefined) return flat
  for (const [name, value] of Object.entries(raw)) {
    if (name.startsWith(':') || value === undefined) continue
    for (const each of Array.isArray(value) ? value : [value]) flat.push(name, String(each))
  }
  return flat
}
