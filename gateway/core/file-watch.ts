import { fileMark } from './file-mark.ts'
import { repeat, type Scheduler } from './scheduler.ts'

/** Files that are read again when they have changed. */
export interface FileWatch {
  /** Reads now, changed or not, after the reading that is under way. */
  reload(): Promise<void>
  /** No reading begins on its own any more. */
  stop(): void
}

export interface WatchParts {
  /** @returns a text that differs after a change of what is watched */
  readonly markOf: () => Promise<string>
  /**
   * The mark from before the first reading: what was written during that reading or after it must not be missed.
   */
  readonly mark: string
  /** From the end of one look to the next one. */
  readonly intervalMs: number
  /** True: what has changed is read at the second look that finds it the same, so that nothing half-written is read. */
  readonly waitUntilStable: boolean
  readonly scheduler: Scheduler
  /** Reads what is watched and puts it in force. It may not reject. */
  readonly read: () => Promise<void>
}

export interface FileWatchParts extends Omit<WatchParts, 'markOf'> {
  readonly path: string
}

/** Watches one file. */
export function watchFile({ path, ...parts }: FileWatchParts): FileWatch {
  return watchMark({ ...parts, markOf: () => fileMark(path) })
}

/** Watches by polling, which also works for swapped links and on network file systems, unlike events of the system. */
export function watchMark({ markOf, intervalMs, waitUntilStable, ...parts }: WatchParts): FileWatch {
  let { mark } = parts
  let lastSeen = mark
  let reading: Promise<void> = Promise.resolve()

  /** The mark comes first: what changes while it is read is read again. */
  async function read(): Promise<void> {
    mark = await markOf()
    await parts.read()
  }

  function reload(): Promise<void> {
    reading = reading.then(read)
    return reading
  }

  async function look(): Promise<void> {
    await reading
    const seen = await markOf()
    const isStable = seen === lastSeen
    lastSeen = seen
    if (seen !== mark && (isStable || !waitUntilStable)) await reload()
  }

  return { reload, stop: repeat(parts.scheduler, intervalMs, look) }
}
