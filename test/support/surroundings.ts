/**
 * What of the tests' own environment a gateway of theirs gets: none of its settings, and nothing of the test runner's.
 * The compile cache that `npm test` names halves the start of each of hundreds of processes.
 */
export function surroundings(): Record<string, string> {
  const { PATH = '', HOME = '', NODE_COMPILE_CACHE } = process.env
  return { PATH, HOME, ...(NODE_COMPILE_CACHE === undefined ? {} : { NODE_COMPILE_CACHE }) }
}
