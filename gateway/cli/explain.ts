import { resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { createExplainer, type Explanation } from '../explanation.ts'
import { loadUpstreamsFile } from '../routing/live-routing.ts'
import { readSettings } from '../settings.ts'
import type { Environment } from './environment.ts'
import { UsageError } from './usage.ts'

/** `explain [--method M] [--cookie HEADER | --token JWT] URL`. @returns 0 if it would forward, else 1 */
export async function explain(args: readonly string[], environment: Environment): Promise<number> {
  const text = { type: 'string' } as const
  const { values, positionals } = parseArgs({
    args: [...args],
    options: { method: text, cookie: text, token: text },
    allowPositionals: true,
  })
  const [url, ...more] = positionals
  if (url === undefined || more.length > 0)
    throw new UsageError('explain: expected one URL, such as http://localhost:8080/api')
  if (values.cookie !== undefined && values.token !== undefined)
    throw new UsageError('explain: expected --cookie or --token, not both')
  const read = readSettings(environment.env)
  if (!read.ok) throw new UsageError(read.problems.join('\n'))
  const { settings } = read
  const request = parseUrl(url, values.method ?? 'GET')
  const loaded = await loadRouting(settings, environment)
  const cookie =
    values.cookie ?? (values.token === undefined ? null : `${settings.accessCookie}=${values.token}`)

  const given =
    settings.databaseUrl !== null && settings.keySource !== null
      ? { databaseUrl: settings.databaseUrl, keySource: settings.keySource, postgres: null }
      : await (await import('../dev/provision.ts')).provision(settings, environment.cwd)
  try {
    const explainer = await createExplainer({
      settings,
      databaseUrl: given.databaseUrl,
      keySource: given.keySource,
      config: loaded,
    })
    try {
      const explanation = await explainer.explain({ ...request, cookie })
      environment.stdout.write(render(explanation))
      return explanation.forwards ? 0 : 1
    } finally {
      await explainer.close()
    }
  } finally {
    await given.postgres?.stop()
  }
}

async function loadRouting(
  settings: { upstreamsFile: string; upstreamsFileGiven: boolean; production: boolean },
  { cwd }: Environment,
) {
  const first = await loadUpstreamsFile(resolve(cwd, settings.upstreamsFile))
  const fallback = !first.ok && !settings.production && !settings.upstreamsFileGiven
  const loaded = fallback ? await loadUpstreamsFile(resolve(cwd, 'upstreams.example.json')) : first
  if (!loaded.ok) throw new Error(loaded.problems.join('\n'))
  return loaded.config
}

function parseUrl(
  text: string,
  method: string,
): { scheme: 'http' | 'https'; host: string; target: string; method: string } {
  if (text.startsWith('/'))
    return { scheme: 'http', host: 'localhost', target: text, method: method.toUpperCase() }
  // Not URL: it would take out the dot segments and escapes that are to be explained.
  const parts = /^(https?):\/\/([^/?#]+)([/?#].*)?$/i.exec(text)
  if (parts === null)
    throw new UsageError(`explain: found "${text}"; expected an http: or https: URL, or a path`)
  const rest = parts[3] ?? '/'
  return {
    scheme: parts[1]!.toLowerCase() as 'http' | 'https',
    host: parts[2]!,
    target: rest.startsWith('/') ? rest : `/${rest}`,
    method: method.toUpperCase(),
  }
}

function render(explanation: Explanation): string {
  const lines: string[] = []
  for (const { title, details } of explanation.steps) {
    const [first = '', ...rest] = details
    lines.push(`${title.padEnd(10)} ${first}`)
    for (const detail of rest) lines.push(`${' '.repeat(10)} ${detail}`)
  }
  return `${lines.join('\n')}\n`
}
