import { readFileSync } from 'node:fs'
import { fileMarkSync } from '../core/file-mark.ts'

/** The meaning of a small file, which is read again after it has changed. */
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

/** A change is seen by the first use that comes this long after the look before. */
const LOOK_MS = 1000

/**
 * The calls are synchronous on purpose: they take a few microseconds once a second, and do not wait for a thread of
 * libuv's pool, which is what other names must not depend on.
 */
export function createWatchedFile<T>({ path, parse, now }: WatchedFileParts<T>): WatchedFile<T> {
  let mark = fileMarkSync(path)
  let text = read(path)
  let value = parse(text)
  let lookedAt = now()
  /** The mark with which the file was found empty. */
  let emptyMark = ''

  function look(): void {
    lookedAt = now()
    const newMark = fileMarkSync(path)
    if (newMark === mark) return
    const newText = read(path)
    // A file that is written in place is empty for a moment. The next look sees whether it stays so.
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
      if (now() - lookedAt >= LOOK_MS) look()
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
