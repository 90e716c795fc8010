/** The command line was not understood; the process ends with 2 and the help. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
}
