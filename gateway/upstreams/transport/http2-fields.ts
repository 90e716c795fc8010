import { addField, createFieldGroups } from '../../http/field-groups.ts'
import type { RequestHead } from './target-stream.ts'

/** Fields of HTTP/1.1 that a request of HTTP/2 has none of (RFC 9113, section 8.2.2), and `Host`. */
const NOT_HTTP2 = new Set([
  'host',
  'connection',
  'keep-alive',
  'proxy-connection',
  'transfer-encoding',
  'upgrade',
  'te',
  'expect',
])

/** The fields of a request as `node:http2` takes them, pseudo-header fields included (RFC 9113, section 8.3.1). */
export function requestFields(method: string, { path, headers: flat }: RequestHead, origin: string) {
  const fields = createFieldGroups()
  let host = ''
  for (let i = 0; i < flat.length; i += 2) {
    const name = flat[i]!.toLowerCase()
    const value = flat[i + 1]!
    if (name === 'host') host = value
    if (NOT_HTTP2.has(name)) continue
    addField(fields, name, value)
  }
  return {
    ...fields,
    ':method': method,
    ':scheme': origin.slice(0, origin.indexOf(':')),
    ':authority': host,
    ':path': path,
    // Servers of gRPC require it, and trailers do pass.
    te: 'trailers',
  }
}

/** @param raw flat name, value pairs */
export function withoutPseudoFields(raw: readonly string[]): string[] {
  const flat: string[] = []
  for (let i = 0; i < raw.length; i += 2) if (!raw[i]!.startsWith(':')) flat.push(raw[i]!, raw[i + 1]!)
  return flat
}
