import { watchMark } from '../file-watch.ts'
import type { Log } from '../log.ts'
import type { Scheduler } from '../scheduler.ts'
import { createErrorPages, type ErrorPages, NO_TEMPLATES } from './error-pages.ts'
import { loadErrorPages, type PageTexts, pagesMark, templatesOf } from './pages-folder.ts'

/** The pages in force. Follows the changes of their folder. */
export interface LiveErrorPages extends ErrorPages {
  /** The last good content of the folder; null where there is no folder. A new worker starts with it where it has to. */
  readonly inForce: PagesInForce | null
  /** Why the last reading of the folder was refused; empty where it was good. */
  readonly problems: readonly string[]
  /** Reads the folder again, even if it is unchanged. Never rejects; unusable pages leave the last good ones in force. */
  reload(): Promise<void>
  close(): void
}

export interface PagesInForce {
  readonly texts: PageTexts
  /** When they were read, milliseconds since the epoch. */
  readonly loadedAt: number
}

/** The reading of the folder with which a process starts. */
export interface FirstPages extends PagesInForce {
  readonly folder: string
  /** Why the folder's present content is unusable, so that an earlier one is used; empty where it is usable. */
  readonly problems: readonly string[]
  /** `pagesMark` from before the folder was read. */
  readonly mark: string
}

export interface LiveErrorPagesParts {
  readonly scheduler: Scheduler
  /** Milliseconds since the epoch. */
  readonly wallClock: () => number
  readonly log: Log
  /** The last reading was good, or was not. */
  readonly onReading: (good: boolean) => void
}

const WATCH_MS = 250

/** @param first null where ERROR_PAGES_DIR is not set */
export function createLiveErrorPages(first: FirstPages | null, parts: LiveErrorPagesParts): LiveErrorPages {
  if (first === null) {
    const { pageFor } = createErrorPages(() => NO_TEMPLATES)
    return { pageFor, inForce: null, problems: [], reload: async () => {}, close() {} }
  }
  const { folder } = first
  const { log } = parts
  let inForce: PagesInForce = first
  let templates = templatesOf(first.texts)
  let problems = first.problems
  const { pageFor } = createErrorPages(() => templates)

  async function read(): Promise<void> {
    const loaded = await loadErrorPages(folder)
    if (!loaded.ok) return refuse(loaded.problems)
    templates = loaded.templates
    problems = []
    inForce = { texts: loaded.texts, loadedAt: parts.wallClock() }
    for (const warning of loaded.warnings) log.warn({ folder, warning }, 'error pages have warnings')
    log.info({ folder, pages: templates.size }, 'the error pages were read')
    parts.onReading(true)
  }

  function refuse(found: readonly string[]): void {
    problems = found
    log.error({ folder, problems: found }, 'the error pages are not usable; the last good ones stay in force')
    parts.onReading(false)
  }

  if (first.problems.length > 0) refuse(first.problems)
  else parts.onReading(true)
  const watch = watchMark({
    markOf: () => pagesMark(folder),
    mark: first.mark,
    intervalMs: WATCH_MS,
    waitUntilStable: true,
    scheduler: parts.scheduler,
    read,
  })
  return {
    pageFor,
    get inForce() {
      return inForce
    },
    get problems() {
      return problems
    },
    reload: () => watch.reload(),
    close: () => watch.stop(),
  }
}
