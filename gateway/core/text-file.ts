import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import { BEGINNING, type Position, positionAt } from './text-position.ts'

export type ReadText = { readonly ok: true; readonly text: string } | UnusableText

/** Why a file could not be read as text. */
export interface UnusableText {
  readonly ok: false
  readonly kind: 'special' | 'unreadable' | 'too large' | 'not UTF-8'
  /** What was found in place of a text, in words. */
  readonly found: string
  readonly position: Position
}

export interface TextSource {
  /**
   * True where only a regular file is accepted. A pipe can be read only once, and reading one without a writer
   * would never end.
   */
  readonly regular: boolean
  /** Without a bound reading `/dev/zero` would never end. */
  readonly maxBytes: number
}

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: 'no such file',
  ENOTDIR: 'no such file',
  EISDIR: 'a folder',
  EACCES: 'a file that may not be read',
  EPERM: 'a file that may not be read',
}

/** Reads a file of UTF-8. A byte order mark is kept. Never rejects. */
export async function readTextFile(path: string, { regular, maxBytes }: TextSource): Promise<ReadText> {
  if (regular && (await isSpecial(path))) return unusable('special', 'a pipe, socket or device')
  const read = await readBounded(createReadStream(path), maxBytes)
  if (!(read instanceof Error)) return textOf(read, maxBytes)
  const code = 'code' in read ? String(read.code) : read.message
  return unusable('unreadable', `${REASONS[code] ?? 'a file that cannot be read'} (${code})`)
}

/** Like `readTextFile`, but reads from a stream. */
export async function readTextStream(
  stream: AsyncIterable<Uint8Array | string>,
  maxBytes: number,
): Promise<ReadText> {
  const read = await readBounded(stream, maxBytes)
  return read instanceof Error ? unusable('unreadable', `an error (${read.message})`) : textOf(read, maxBytes)
}

/** False for a missing file; reading it reports that. */
async function isSpecial(path: string): Promise<boolean> {
  const found = await stat(path).catch(() => null)
  return found !== null && !found.isFile() && !found.isDirectory()
}

async function readBounded(
  stream: AsyncIterable<Uint8Array | string>,
  maxBytes: number,
): Promise<Buffer | Error> {
  const chunks: Buffer[] = []
  let length = 0
  try {
    for await (const chunk of stream) {
      chunks.push(Buffer.from(chunk as Uint8Array))
      length += chunk.length
      // Enough has been read to know that the file is too large.
      if (length > maxBytes) break
    }
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error))
  }
  return Buffer.concat(chunks)
}

function textOf(bytes: Buffer, maxBytes: number): ReadText {
  if (bytes.length > maxBytes) return unusable('too large', `more than ${maxBytes / 1024 / 1024} MiB`)
  const text = decode(bytes)
  return text === null ? notUtf8(bytes) : { ok: true, text }
}

/** @returns null where the bytes are not UTF-8 */
function decode(bytes: Uint8Array, stream = false): string | null {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes, { stream })
  } catch {
    return null
  }
}

function notUtf8(bytes: Buffer): UnusableText {
  // Searches for the longest beginning that is valid UTF-8.
  let good = 0
  for (let bad = bytes.length + 1; bad - good > 1; ) {
    const middle = (good + bad) >> 1
    if (decode(bytes.subarray(0, middle), true) === null) bad = middle
    else good = middle
  }
  const before = decode(bytes.subarray(0, good), true) ?? ''
  const byte = bytes[Buffer.byteLength(before)] ?? 0
  const is16 = /^(?:fffe|feff)/.test(bytes.toString('hex', 0, 2))
  const found = is16 ? 'UTF-16' : `the byte 0x${byte.toString(16).toUpperCase().padStart(2, '0')}`
  return { ok: false, kind: 'not UTF-8', found, position: positionAt(before, before.length) }
}

function unusable(kind: UnusableText['kind'], found: string): UnusableText {
  return { ok: false, kind, found, position: BEGINNING }
}
