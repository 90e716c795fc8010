/** The wire protocol's messages (PostgreSQL manual, sections 54.2 and 54.7), as far as the tests' relays and servers need them. */

/** Codes that stand where a startup message has its version. */
export const SSL_REQUEST = 80877103
export const CANCEL_REQUEST = 80877102

/** One message of the server's, its length filled in. */
export function message(type: string, ...parts: readonly (Buffer | string | number)[]): Buffer {
  const body = Buffer.concat(parts.map((part) => (Buffer.isBuffer(part) ? part : encode(part))))
  const head = Buffer.alloc(5)
  head.write(type, 'latin1')
  head.writeInt32BE(body.length + 4, 1)
  return Buffer.concat([head, body])
}

/** A message that claims another length than it has. */
export function withLength(type: string, length: number, body: Buffer | string = ''): Buffer {
  const head = Buffer.alloc(5)
  head.write(type, 'latin1')
  head.writeInt32BE(length, 1)
  return Buffer.concat([head, Buffer.from(body)])
}

/** Numbers are of four bytes, and texts are as they are: the zero at their end is the caller's to write. */
function encode(part: string | number): Buffer {
  if (typeof part === 'string') return Buffer.from(part, 'latin1')
  const bytes = Buffer.alloc(4)
  bytes.writeInt32BE(part)
  return bytes
}

/** Splits what a client sends into its messages; the first one has no type. */
export function createMessageReader(): (piece: Buffer) => Buffer[] {
  let rest = Buffer.alloc(0)
  let started = false
  return (piece) => {
    rest = Buffer.concat([rest, piece])
    const out: Buffer[] = []
    for (;;) {
      const header = started ? 1 : 0
      if (rest.length < header + 4) return out
      const length = header + rest.readUInt32BE(header)
      if (rest.length < length) return out
      out.push(rest.subarray(0, length))
      rest = rest.subarray(length)
      started = true
    }
  }
}
