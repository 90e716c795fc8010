import pino from 'pino'
import type { Scheduler } from '../scheduler.ts'

export type Logger = pino.Logger

export interface LoggerOptions {
  readonly level: string
  /** File descriptor; 1 is stdout. */
  readonly fd: number
  readonly scheduler: Scheduler
}

/** Bytes that may wait for a stuck stdout before lines are dropped rather than memory filled. */
const MAX_WAITING_BYTES = 16 * 1024 * 1024

/**
 * One write for many lines: each write costs a turn of the thread pool, as much as making the line. Halved what the
 * access log costs (32 to 17 microseconds CPU a line, into a pipe).
 */
const WRITE_BYTES = 12 * 1024

/** How long a line may wait for others to go with it. */
const WRITE_AFTER_MS = 10

/**
 * JSON lines, written without blocking the event loop.
 *
 * @param onDrop called for each line that was dropped because nobody reads stdout
 */
export function createLogger(
  options: LoggerOptions,
  onDrop: () => void = () => {},
): { readonly log: Logger; readonly flush: () => void } {
  const destination = pino.destination({
    dest: options.fd,
    sync: false,
    maxLength: MAX_WAITING_BYTES,
    minLength: WRITE_BYTES,
  })
  destination.on('drop', onDrop)
  destination.on('error', () => {})
  let flushAhead = false

  function write(line: string): void {
    destination.write(line)
    if (flushAhead) return
    flushAhead = true
    options.scheduler.after(WRITE_AFTER_MS, () => {
      flushAhead = false
      destination.flush()
    })
  }

  const log = pino(
    {
      level: options.level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      serializers: { err: describeError },
    },
    { write },
  )
  return {
    log,
    flush() {
      try {
        destination.flushSync()
      } catch {
        // Nothing was opened yet, or stdout is gone: there is nobody to tell.
      }
    },
  }
}

/** What is told of an error: its kind, code, message and causes; never a stack, never other fields it carries. */
export function describeError(error: unknown, depth = 0): object | string {
  if (!(error instanceof Error)) return String(error)
  const { name, message, cause } = error
  return {
    name,
    ...('code' in error && typeof error.code === 'string' ? { code: error.code } : {}),
    message,
    ...(cause === undefined || depth >= 4 ? {} : { cause: describeError(cause, depth + 1) }),
  }
}
