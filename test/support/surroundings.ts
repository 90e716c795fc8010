/**
 * What of the tests' own environment a gateway of theirs gets: none of its settings, and nothing of the test runner's.
 * The compile cache that `npm test` names halves the start of each of hundreds of processes.
 */
export function surroundings(): Record<string, string> {
  const { PATH = '', HOME = '', NODE_COMPILE_CACHE } = process.env
  return { PATH, HOME, ...(NODE_COMPILE_CACHE === undefined ? {} : { NODE_COMPILE_CACHE }) }
}

/**
 * A command line that starts a program without what tap adds to each process of Node: its loader, which costs as much
 * as a start of the gateway, and is not there for its users.
 */
export function unwatched(
  program: string,
  args: readonly string[],
  { NODE_OPTIONS }: Readonly<Record<string, string>> = {},
): [program: string, args: string[]] {
  const own = NODE_OPTIONS === undefined ? [] : [`NODE_OPTIONS=${NODE_OPTIONS}`]
  return ['env', ['-u', 'NODE_OPTIONS', ...own, program, ...args]]
}
