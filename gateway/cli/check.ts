import { resolve } from 'node:path'
import { loadErrorPages } from '../core/error-pages/pages-folder.ts'
import { escapeInvisible } from '../core/message-text.ts'
import { createOwnPaths } from '../http/own-paths.ts'
import { type LoadedFile, loadRoutingFile, loadRoutingStream } from '../routing/file/load-file.ts'
import { VARIABLES } from '../settings/table.ts'
import type { Arguments } from './arguments.ts'
import type { Environment } from './environment.ts'
import { reportSource } from './resources.ts'
import { paintFor } from './terminal.ts'

/**
 * `check [FILE]`: one line for each problem of a routing file, and of the error pages where ERROR_PAGES_DIR is set; `-` is
 * standard input. @returns the exit code
 */
export async function checkRoutingFile(args: Arguments, environment: Environment): Promise<number> {
  const { env, stdout } = environment
  const { positionals } = args
  const strict = args.has('strict')
  const shown = positionals[0] ?? (env.UPSTREAMS_FILE || VARIABLES.upstreamsFile.byDefault)
  const results = [await checkFile(shown, strict, environment)]
  if (env.ERROR_PAGES_DIR) results.push(await checkPages(env.ERROR_PAGES_DIR, strict, environment))
  const problems = results.flatMap((result) => (result.ok ? [] : result.problems))
  if (problems.length > 0) {
    const paint = paintFor(stdout, env)
    stdout.write(problems.map((line) => `${highlightPlace(line, paint.bold)}\n`).join(''))
    return 1
  }
  for (const result of results) if (result.ok) writeGood(result, environment)
  return 0
}

type Checked =
  | {
      readonly ok: true
      readonly shown: string
      readonly contents: string
      readonly warnings: readonly string[]
    }
  | { readonly ok: false; readonly problems: readonly string[] }

async function checkFile(shown: string, strict: boolean, environment: Environment): Promise<Checked> {
  const file = shown === '-' ? 'from standard input' : escapeInvisible(resolve(environment.cwd, shown))
  reportSource(environment, `routing file ${file}`)
  const loaded = await loadFile(shown, strict, environment)
  if (!loaded.ok) return loaded
  const { upstreams, routes } = loaded.config
  const contents = `${plural(upstreams.size, 'upstream')}, ${plural(new Set(routes.map(({ index }) => index)).size, 'route')}`
  return { ok: true, shown, contents, warnings: loaded.warnings }
}

async function checkPages(shown: string, strict: boolean, environment: Environment): Promise<Checked> {
  const path = resolve(environment.cwd, shown)
  reportSource(environment, `error pages ${escapeInvisible(path)}`)
  const loaded = await loadErrorPages(path, { shown, strict })
  if (!loaded.ok) return loaded
  const contents = plural(loaded.templates.size, 'error page')
  return { ok: true, shown, contents, warnings: loaded.warnings }
}

function writeGood(
  { shown, contents, warnings }: Extract<Checked, { ok: true }>,
  { env, stdout, stderr }: Environment,
): void {
  const warned = paintFor(stderr, env)
  stderr.write(warnings.map((line) => `${highlightPlace(line, warned.warning)}\n`).join(''))
  stdout.write(`${shown}: ${paintFor(stdout, env).good('good')}, ${contents}\n`)
}

function loadFile(shown: string, strict: boolean, { cwd, env, stdin }: Environment): Promise<LoadedFile> {
  const prefix = env.GATEWAY_PATH || VARIABLES.gatewayPath.byDefault
  const ownPaths = createOwnPaths(prefix, env.SESSION_ENDPOINTS === 'on')
  // Files that standard input names are relative to the working folder, as if it lay there.
  const source = { path: resolve(cwd, shown), shown, ownPaths, strict }
  return shown === '-' ? loadRoutingStream(stdin, source) : loadRoutingFile(source)
}

/** Paints the place (file, line and column) of a problem. */
function highlightPlace(line: string, paint: (text: string) => string): string {
  const [place = ''] = /^.*?:\d+:\d+:(?= )/.exec(line) ?? []
  return paint(place) + line.slice(place.length)
}

function plural(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`
}
