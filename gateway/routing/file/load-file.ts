import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import { type FileProblem, formatProblem, formatWarning, problemAt } from './file-problems.ts'
import { parseRoutingFile, type RoutingConfig } from './routing-file.ts'
import { positionAt } from './source-positions.ts'

export type LoadedFile =
  | {
      readonly ok: true
      readonly config: RoutingConfig
      /** The file's content, by which it can be read again where it is not on the disk any more. */
      readonly text: string
      /** What is odd and does no harm, a line each. */
      readonly warnings: readonly string[]
    }
  /** All problems, a line each. */
  | { readonly ok: false; readonly problems: readonly string[] }

/** What a routing file is read from, and what it is called. */
export interface FileSource {
  /** True where it has to be a file: a pipe is read once, and an open one that nobody writes to would be waited for. */
  readonly regular?: boolean
  /** Absolute; the files that it names are relative to its folder. */
  readonly path: string
  /** Its name in problems; `path` by default. */
  readonly shown?: string
  /** Where the gateway's own endpoints are; routes there are warned of. */
  readonly gatewayPath?: string
}

/** Fifty thousand routes are a tenth of it. Without a bound `/dev/zero` would be read for ever. */
const MAX_BYTES = 64 * 1024 * 1024

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: 'no such file',
  ENOTDIR: 'no such file',
  EISDIR: 'a folder',
  EACCES: 'a file that may not be read',
  EPERM: 'a file that may not be read',
}

/** Reads and checks a routing file with the files that it names. Never rejects. */
export async function loadRoutingFile(source: FileSource): Promise<LoadedFile> {
  const { path, shown = path } = source
  if (source.regular === true && (await isSpecial(path))) {
    return refused(shown, 'a pipe, socket or device', 'a file')
  }
  const read = await readBounded(createReadStream(path))
  if (!(read instanceof Error)) return checkRoutingBytes(read, source)
  const code = 'code' in read ? String(read.code) : read.message
  return refused(
    shown,
    `${REASONS[code] ?? 'a file that cannot be read'} (${code})`,
    'a readable routing file',
  )
}

/** What is not there is told by reading it. */
async function isSpecial(path: string): Promise<boolean> {
  const found = await stat(path).catch(() => null)
  return found !== null && !found.isFile() && !found.isDirectory()
}

/** As `loadRoutingFile`, from a stream; `path` says only where the files that it names are. */
export async function loadRoutingStream(
  stream: AsyncIterable<Uint8Array | string>,
  source: FileSource,
): Promise<LoadedFile> {
  const { path, shown = path } = source
  const read = await readBounded(stream)
  if (read instanceof Error) return refused(shown, `an error (${read.message})`, 'a routing file')
  return checkRoutingBytes(read, source)
}

async function readBounded(stream: AsyncIterable<Uint8Array | string>): Promise<Buffer | Error> {
  const chunks: Buffer[] = []
  let length = 0
  try {
    for await (const chunk of stream) {
      chunks.push(Buffer.from(chunk as Uint8Array))
      length += chunk.length
      // One byte more than allowed is enough to know.
      if (length > MAX_BYTES) break
    }
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error))
  }
  return Buffer.concat(chunks)
}

function checkRoutingBytes(bytes: Buffer, source: FileSource): LoadedFile {
  const { path, shown = path } = source
  if (bytes.length > MAX_BYTES) {
    return refused(shown, `more than ${MAX_BYTES / 1024 / 1024} MiB`, 'a routing file')
  }
  const text = decode(bytes)
  if (text === null) return { ok: false, problems: [formatProblem(notUtf8(bytes, shown))] }
  return loadRoutingText(text, source)
}

/** As `loadRoutingFile`, from its content; `path` says only where the files that it names are. */
export function loadRoutingText(text: string, source: FileSource): LoadedFile {
  const { path } = source
  const read = parseRoutingFile(text, path, { ...source, opensFiles: true })
  if (!read.ok) return { ok: false, problems: read.problems.map(formatProblem) }
  return { ok: true, config: read.config, text, warnings: read.warnings.map(formatWarning) }
}

/** @returns null where the bytes are not UTF-8. A byte order mark stays, to be told. */
function decode(bytes: Uint8Array, stream = false): string | null {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes, { stream })
  } catch {
    return null
  }
}

function notUtf8(bytes: Buffer, file: string): FileProblem {
  // The longest beginning that could still go on as UTF-8.
  let good = 0
  for (let bad = bytes.length + 1; bad - good > 1; ) {
    const middle = (good + bad) >> 1
    if (decode(bytes.subarray(0, middle), true) === null) bad = middle
    else good = middle
  }
  const before = decode(bytes.subarray(0, good), true) ?? ''
  const byte = bytes[Buffer.byteLength(before)] ?? 0
  const is16 = /^(?:fffe|feff)/.test(bytes.toString('hex', 0, 2))
  return problemAt(file, positionAt(before, before.length), {
    path: [],
    found: is16 ? 'UTF-16' : `the byte 0x${byte.toString(16).toUpperCase().padStart(2, '0')}`,
    expected: 'JSON in UTF-8',
  })
}

function refused(file: string, found: string, expected: string): LoadedFile {
  const problem = problemAt(file, { line: 1, column: 1 }, { path: [], found, expected })
  return { ok: false, problems: [formatProblem(problem)] }
}
