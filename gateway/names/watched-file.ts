import { readFileSync } from 'node:fs'
import { fileMarkSync } from '../core/file-mark.ts'

/** The parsed content of a small file, which is read again after it has changed. */
export interface WatchedFile<T> {
  current(): T
}

export interface WatchedFileParts<T> {
  readonly path: string
  /** @param text null where the file is missing or cannot be read */
  readonly parse: (text: string | null) => T
  /** Milliseconds, monotonic. */
  readonly now: () => number
}

/** The file is checked for changes when it is used, at most once in this time. */
const CHECK_MS = 1000

/**
 * Uses synchronous calls on purpose: they take a few microseconds once a second. Asynchronous ones would wait for a
 * thread of libuv's pool, and name resolution must not depend on free threads.
 */
export function createWatchedFile<T>({ path, parse, now }: WatchedFileParts<T>): WatchedFile<T> {
  let mark = fileMarkSync(path)
  let text = read(path)
  let value = parse(text)
  let checkedAt = now()
  /** The file's mark when it was last found empty. */
  let emptyMark = ''

  function checkFile(): void {
    checkedAt = now()
    const newMark = fileMarkSync(path)
    if (newMark === mark) return
    const newText = read(path)
    // A file that is written in place is empty for a moment, so emptiness counts only if the next check finds it too.
    if (newText === '' && newMark !== emptyMark) {
      emptyMark = newMark
      return
    }
    mark = newMark
    if (newText === text) return
    text = newText
    value = parse(newText)
  }

  return {
    current() {
      if (now() - checkedAt >= CHECK_MS) checkFile()
      return value
    },
  }
}

function read(path: string): string | null {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return null
  }
}
