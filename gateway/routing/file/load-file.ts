import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import type { OwnPaths } from '../../http/own-paths.ts'
import { type FileProblem, formatProblem, formatWarning, problemAt } from './file-problems.ts'
import { parseRoutingFile, type RoutingConfig } from './routing-file.ts'
import { positionAt } from './source-positions.ts'

export type LoadedFile =
  | {
      readonly ok: true
      readonly config: RoutingConfig
      /** The file's content, so that it can be parsed again even if the file has changed meanwhile. */
      readonly text: string
      /** One line each. */
      readonly warnings: readonly string[]
    }
  /** All problems, one line each. */
  | { readonly ok: false; readonly problems: readonly string[] }

export interface FileSource {
  /**
   * True where only a regular file is accepted. A pipe can be read only once, and reading one without a writer
   * would never end.
   */
  readonly regular?: boolean
  /** Absolute. Names of TLS files are relative to its folder. */
  readonly path: string
  /** The file's name in problems; `path` by default. */
  readonly shown?: string
  /** Routes for these cause a warning. */
  readonly ownPaths?: OwnPaths
  /** True where a warning is a problem like the others. */
  readonly strict?: boolean
}

/** Ten times as much as fifty thousand routes need. Without a bound reading `/dev/zero` would never end. */
const MAX_BYTES = 64 * 1024 * 1024

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: 'no such file',
  ENOTDIR: 'no such file',
  EISDIR: 'a folder',
  EACCES: 'a file that may not be read',
  EPERM: 'a file that may not be read',
}

/** Reads and checks a routing file and the TLS files that it names. Never rejects. */
export async function loadRoutingFile(source: FileSource): Promise<LoadedFile> {
  const { path, shown = path } = source
  if (source.regular === true && (await isSpecial(path))) {
    return unusable(shown, 'a pipe, socket or device', 'a file')
  }
  const read = await readBounded(createReadStream(path))
  if (!(read instanceof Error)) return checkRoutingBytes(read, source)
  const code = 'code' in read ? String(read.code) : read.message
  return unusable(
    shown,
    `${REASONS[code] ?? 'a file that cannot be read'} (${code})`,
    'a readable routing file',
  )
}

/** False for a missing file; reading it reports that. */
async function isSpecial(path: string): Promise<boolean> {
  const found = await stat(path).catch(() => null)
  return found !== null && !found.isFile() && !found.isDirectory()
}

/** Like `loadRoutingFile`, but reads from a stream. `source.path` is used only to find the TLS files. */
export async function loadRoutingStream(
  stream: AsyncIterable<Uint8Array | string>,
  source: FileSource,
): Promise<LoadedFile> {
  const { path, shown = path } = source
  const read = await readBounded(stream)
  if (read instanceof Error) return unusable(shown, `an error (${read.message})`, 'a routing file')
  return checkRoutingBytes(read, source)
}

async function readBounded(stream: AsyncIterable<Uint8Array | string>): Promise<Buffer | Error> {
  const chunks: Buffer[] = []
  let length = 0
  try {
    for await (const chunk of stream) {
      chunks.push(Buffer.from(chunk as Uint8Array))
      length += chunk.length
      // Enough has been read to know that the file is too large.
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
    return unusable(shown, `more than ${MAX_BYTES / 1024 / 1024} MiB`, 'a routing file')
  }
  const text = decode(bytes)
  if (text === null) return { ok: false, problems: [formatProblem(notUtf8(bytes, shown))] }
  return loadRoutingText(text, source)
}

/** Like `loadRoutingFile`, for content that was read before. `source.path` is used only to find the TLS files. */
export function loadRoutingText(text: string, source: FileSource): LoadedFile {
  const { path } = source
  const read = parseRoutingFile(text, path, { ...source, opensFiles: true })
  const problems = !read.ok ? read.problems : source.strict === true ? read.warnings : []
  if (!read.ok || problems.length > 0) return { ok: false, problems: problems.map(formatProblem) }
  return { ok: true, config: read.config, text, warnings: read.warnings.map(formatWarning) }
}

/** @returns null where the bytes are not UTF-8. A byte order mark is kept, so that it is reported as a problem. */
function decode(bytes: Uint8Array, stream = false): string | null {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes, { stream })
  } catch {
    return null
  }
}

function notUtf8(bytes: Buffer, file: string): FileProblem {
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
  return problemAt(file, positionAt(before, before.length), {
    path: [],
    found: is16 ? 'UTF-16' : `the byte 0x${byte.toString(16).toUpperCase().padStart(2, '0')}`,
    expected: 'JSON in UTF-8',
  })
}

function unusable(file: string, found: string, expected: string): LoadedFile {
  const problem = problemAt(file, { line: 1, column: 1 }, { path: [], found, expected })
  return { ok: false, problems: [formatProblem(problem)] }
}
