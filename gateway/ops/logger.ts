import pino from 'pino'

export type Logger = pino.Logger

export interface LoggerOptions {
  readonly level: string
  /** File descriptor; 1 is stdout. */
  readonly fd: number
}

/** Bytes that may wait for a stuck stdout before lines are dropped rather than memory filled. */
const MAX_WAITING_BYTES = 16 * 1024 * 1024

/**
 * JSON lines, written without blocking the event loop.
 *
 * @param onDrop called for each line that was dropped because nobody reads stdout
 */
export function createLogger(
  options: LoggerOptions,
  onDrop: () => void = () => {},
): { readonly log: Logger; readonly flush: () => void } {
  const destination = pino.destination({ dest: options.fd, sync: false, maxLength: MAX_WAITING_BYTES })
  destination.on('drop', onDrop)
  destination.on('error', () => {})
  const log = pino(
    {
      level: options.level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      serializers: { err: describeError },
    },
    destination,
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
