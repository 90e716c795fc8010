import { fileMark } from './file-mark.ts'
import { repeat, type Scheduler } from './scheduler.ts'

/** A file that is read again when it has changed. */
export interface FileWatch {
  /** Reads the file now, changed or not, after the reading that is under way. */
  reload(): Promise<void>
  /** No reading begins on its own any more. */
  stop(): void
}

export interface FileWatchParts {
  readonly path: string
  /**
   * `fileMark` from before the file was read for the first time: what was written during that reading or after it must
   * not be missed.
   */
  readonly mark: string
  /** From the end of one look at the file to the next one. */
  readonly intervalMs: number
  /** True: a changed file is read at the second look that finds it the same, so that no half-written one is read. */
  readonly waitUntilStable: boolean
  readonly scheduler: Scheduler
  /** Reads the file and puts it in force. It may not reject. */
  readonly read: () => Promise<void>
}

/** Watches by polling, which also works for swapped links and on network file systems, unlike events of the system. */
export function watchFile({ path, intervalMs, waitUntilStable, ...parts }: FileWatchParts): FileWatch {
  let { mark } = parts
  let lastSeen = mark
  let reading: Promise<void> = Promise.resolve()

  /** The mark comes first: a file that changes while it is read is read again. */
  async function read(): Promise<void> {
    mark = await fileMark(path)
    await parts.read()
  }

  function reload(): Promise<void> {
    reading = reading.then(read)
    return reading
  }

  async function look(): Promise<void> {
    await reading
    const seen = await fileMark(path)
    const isStable = seen === lastSeen
    lastSeen = seen
    if (seen !== mark && (isStable || !waitUntilStable)) await reload()
  }

  return { reload, stop: repeat(parts.scheduler, intervalMs, look) }
}
