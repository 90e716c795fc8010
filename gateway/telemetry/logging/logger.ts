import pino from 'pino'
import type { LineWriter } from './line-writer.ts'

export type Logger = pino.Logger

/** A logger that writes JSON lines. */
export function createLogger(level: string, writer: Pick<LineWriter, 'write'>): Logger {
  return pino(
    {
      level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      serializers: { err: describeError },
    },
    writer,
  )
}

/** What is logged of an error: its name, code, message and causes. Its stack and its other fields are left out. */
function describeError(error: unknown, depth = 0): object | string {
  if (!(error instanceof Error)) return String(error)
  const { name, message, cause } = error
  return {
    name,
    ...('code' in error && typeof error.code === 'string' ? { code: error.code } : {}),
    message,
    ...(cause === undefined || depth >= 4 ? {} : { cause: describeError(cause, depth + 1) }),
  }
}
