/** Takes lines for operators: what they are about, and a message that stays the same. Pino's logger is one. */
export interface Log {
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
  error(fields: object, message: string): void
}

/** For commands, which report on stdout and stderr and write no log. */
export const SILENT_LOG: Log = { info() {}, warn() {}, error() {} }
