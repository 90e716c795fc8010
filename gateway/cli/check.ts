import { resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { checkUpstreamsBytes, type LoadedFile, loadUpstreamsFile } from '../routing/live-routing.ts'
import type { Environment } from './environment.ts'

/** `check [FILE]`: one line for each problem of a routing file; `-` is standard input. @returns the exit code */
export async function check(args: readonly string[], environment: Environment): Promise<number> {
  const { positionals } = parseArgs({ args: [...args], options: {}, allowPositionals: true })
  const file = positionals[0] ?? environment.env.UPSTREAMS_FILE ?? 'upstreams.json'
  const loaded = await load(file, environment)
  if (!loaded.ok) {
    for (const problem of loaded.problems) environment.stdout.write(`${problem}\n`)
    return 1
  }
  const { upstreams, routes } = loaded.config
  environment.stdout.write(
    `${file}: good, ${plural(upstreams.size, 'upstream')}, ${plural(routes.length, 'route')}\n`,
  )
  return 0
}

async function load(file: string, { cwd, stdin }: Environment): Promise<LoadedFile> {
  if (file !== '-') return renamed(await loadUpstreamsFile(resolve(cwd, file)), resolve(cwd, file), file)
  const chunks: Uint8Array[] = []
  for await (const chunk of stdin) chunks.push(Buffer.from(chunk))
  // Files that it names are relative to the working folder, as a file would be that lay there.
  const path = resolve(cwd, '-')
  return renamed(checkUpstreamsBytes(Buffer.concat(chunks), path), path, '-')
}

/** Problems name the file as it was given. */
function renamed(loaded: LoadedFile, path: string, file: string): LoadedFile {
  if (loaded.ok) return loaded
  return {
    ok: false,
    problems: loaded.problems.map((line) => (line.startsWith(path) ? file + line.slice(path.length) : line)),
  }
}

function plural(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`
}
