import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

const NAME = 'upstreams.example.json'

/** The routing file of a first try: the working folder's, as in a clone, or the one that came with the program. */
export function exampleRoutingFile(cwd: string): string {
  const own = resolve(cwd, NAME)
  return existsSync(own) ? own : fileURLToPath(new URL(`../../${NAME}`, import.meta.url))
}
