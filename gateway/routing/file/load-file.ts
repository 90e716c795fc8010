import { type ReadText, readTextFile, readTextStream, type UnusableText } from '../../core/text-file.ts'
import type { OwnPaths } from '../../http/own-paths.ts'
import { formatProblem, formatWarning, problemAt } from './file-problems.ts'
import { parseRoutingFile, type RoutingConfig } from './routing-file.ts'

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

/** Ten times as much as fifty thousand routes need. */
const MAX_BYTES = 64 * 1024 * 1024

const EXPECTED: Readonly<Record<UnusableText['kind'], string>> = {
  special: 'a file',
  unreadable: 'a readable routing file',
  'too large': 'a routing file',
  'not UTF-8': 'JSON in UTF-8',
}

/** Reads and checks a routing file and the TLS files that it names. Never rejects. */
export async function loadRoutingFile(source: FileSource): Promise<LoadedFile> {
  return check(
    await readTextFile(source.path, { regular: source.regular === true, maxBytes: MAX_BYTES }),
    source,
  )
}

/** Like `loadRoutingFile`, but reads from a stream. `source.path` is used only to find the TLS files. */
export async function loadRoutingStream(
  stream: AsyncIterable<Uint8Array | string>,
  source: FileSource,
): Promise<LoadedFile> {
  return check(await readTextStream(stream, MAX_BYTES), source)
}

function check(read: ReadText, source: FileSource): LoadedFile {
  if (read.ok) return loadRoutingText(read.text, source)
  const { found, position, kind } = read
  const problem = problemAt(source.shown ?? source.path, position, {
    path: [],
    found,
    expected: EXPECTED[kind],
  })
  return { ok: false, problems: [formatProblem(problem)] }
}

/** Like `loadRoutingFile`, for content that was read before. `source.path` is used only to find the TLS files. */
export function loadRoutingText(text: string, source: FileSource): LoadedFile {
  const { path } = source
  const read = parseRoutingFile(text, path, { ...source, opensFiles: true })
  const problems = !read.ok ? read.problems : source.strict === true ? read.warnings : []
  if (!read.ok || problems.length > 0) return { ok: false, problems: problems.map(formatProblem) }
  return { ok: true, config: read.config, text, warnings: read.warnings.map(formatWarning) }
}
