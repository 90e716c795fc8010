import { resolve } from 'node:path'
import { createOwnPaths } from '../http/own-paths.ts'
import { type LoadedFile, loadRoutingFile, loadRoutingStream } from '../routing/file/load-file.ts'
import { VARIABLES } from '../settings/table.ts'
import type { Arguments } from './arguments.ts'
import type { Environment } from './environment.ts'
import { paintFor } from './terminal.ts'

/** `check [FILE]`: one line for each problem of a routing file; `-` is standard input. @returns the exit code */
export async function checkRoutingFile(args: Arguments, environment: Environment): Promise<number> {
  const { env, stdout, stderr } = environment
  const { positionals } = args
  const shown = positionals[0] ?? (env.UPSTREAMS_FILE || VARIABLES.upstreamsFile.byDefault)
  const loaded = await loadFile(shown, args.has('strict'), environment)
  const paint = paintFor(stdout, env)
  if (!loaded.ok) {
    stdout.write(loaded.problems.map((line) => `${highlightPlace(line, shown, paint.bold)}\n`).join(''))
    return 1
  }
  const warned = paintFor(stderr, env)
  stderr.write(loaded.warnings.map((line) => `${highlightPlace(line, shown, warned.warning)}\n`).join(''))
  const { upstreams, routes } = loaded.config
  stdout.write(
    `${shown}: ${paint.good('good')}, ${plural(upstreams.size, 'upstream')}, ${plural(routes.length, 'route')}\n`,
  )
  return 0
}

function loadFile(shown: string, strict: boolean, { cwd, env, stdin }: Environment): Promise<LoadedFile> {
  const prefix = env.GATEWAY_PATH || VARIABLES.gatewayPath.byDefault
  const ownPaths = createOwnPaths(prefix, env.SESSION_ENDPOINTS === 'on')
  // Files that standard input names are relative to the working folder, as if it lay there.
  const source = { path: resolve(cwd, shown), shown, ownPaths, strict }
  return shown === '-' ? loadRoutingStream(stdin, source) : loadRoutingFile(source)
}

/** Paints the place (file, line and column) of a problem. */
function highlightPlace(line: string, file: string, paint: (text: string) => string): string {
  const end = /^:\d+:\d+:/.exec(line.slice(file.length))?.[0].length ?? 0
  return paint(line.slice(0, file.length + end)) + line.slice(file.length + end)
}

function plural(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`
}
