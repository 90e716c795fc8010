import { existsSync } from 'node:fs'
import { validateHeaderName, validateHeaderValue } from 'node:http'
import { resolve } from 'node:path'
import { escapeInvisible } from '../core/message-text.ts'
import {
  createExplainer,
  type ExplainedRequest,
  type Explainer,
  type Explanation,
} from '../explain/explainer.ts'
import type { RoutingConfig } from '../routing/file/file-schema.ts'
import { loadRoutingFile } from '../routing/file/load-file.ts'
import type { Settings } from '../settings/values.ts'
import type { Arguments } from './arguments.ts'
import type { Environment } from './environment.ts'
import { exampleRoutingFile } from './example-routing.ts'
import { loadSettings, reportSource, withResources } from './resources.ts'
import { type Paint, paintFor } from './terminal.ts'
import { UsageError } from './usage.ts'

const HANDSHAKE = [
  'Connection',
  'Upgrade',
  'Upgrade',
  'websocket',
  'Sec-WebSocket-Version',
  '13',
  'Sec-WebSocket-Key',
  'AAAAAAAAAAAAAAAAAAAAAA==',
]

/** `explain … URL`. @returns 0 if it would forward, else 1 */
export async function explainRequest(args: Arguments, environment: Environment): Promise<number> {
  const [url] = args.positionals
  if (url === undefined)
    throw new UsageError('URL is missing; expected one such as http://localhost:8080/api')
  const { scheme, host, target, isHandshake } = parseUrl(url)
  const method = parseMethod(args.text('method') ?? 'GET')
  const headersGiven = args.texts('header').flatMap(parseHeader)
  const settings = loadSettings(environment)
  const cookie = await readCookie(args, settings.accessCookie, environment)
  const headers = [
    ...(isHandshake ? HANDSHAKE : []),
    ...headersGiven,
    ...(cookie === null ? [] : ['Cookie', cookie]),
  ]
  const explanation = await withResources(environment, { settings, needsKey: true }, async (resources) => {
    const config = await loadRouting(settings, environment)
    if (config === null) return null
    const keySource = resources.keySource!
    const request = { scheme, host, target, method, headers }
    return explainOnce(createExplainer({ ...resources, keySource, config }), request)
  })
  if (explanation === null) return 1
  const { stdout, env } = environment
  stdout.write(
    args.has('json')
      ? `${JSON.stringify(explanation, null, 2)}\n`
      : renderExplanation(explanation, paintFor(stdout, env)),
  )
  return explanation.forwards ? 0 : 1
}

async function explainOnce(creating: Promise<Explainer>, request: ExplainedRequest): Promise<Explanation> {
  const explainer = await creating
  try {
    return await explainer.explain(request)
  } finally {
    await explainer.close()
  }
}

async function readCookie(args: Arguments, name: string, { stdin }: Environment): Promise<string | null> {
  const cookie = args.text('cookie')
  const token = args.text('token')
  if (cookie !== null && token !== null)
    throw new UsageError('--cookie and --token are both given; expected one of them')
  if (cookie !== null) return checkHeaderValue('Cookie', cookie.replace(/^cookie:\s*/i, ''))
  if (token === null) return null
  if (token !== '-') return checkHeaderValue('Cookie', `${name}=${token}`)
  const chunks: Buffer[] = []
  for await (const chunk of stdin) chunks.push(Buffer.from(chunk as Uint8Array))
  return checkHeaderValue('Cookie', `${name}=${Buffer.concat(chunks).toString('utf8').trim()}`)
}

/** @returns null where the file is not usable; stderr has its problems */
async function loadRouting(settings: Settings, environment: Environment): Promise<RoutingConfig | null> {
  const { cwd, stderr } = environment
  const { upstreamsFile } = settings
  const own = resolve(cwd, upstreamsFile)
  const path = servesExample(own, settings, cwd) ? exampleRoutingFile(cwd) : own
  reportSource(environment, `routing file ${escapeInvisible(path)}`)
  const loaded = await loadRoutingFile(path === own ? { path, shown: upstreamsFile } : { path })
  if (loaded.ok) return loaded.config
  stderr.write(loaded.problems.map((problem) => `${problem}\n`).join(''))
  return null
}

/**
 * Whether `serve` uses the example in this folder: outside production, without a routing file. In a folder where it
 * has never run, this is rather a forgotten UPSTREAMS_FILE.
 */
function servesExample(path: string, { production, upstreamsFileGiven }: Settings, cwd: string): boolean {
  if (production || upstreamsFileGiven || existsSync(path)) return false
  return existsSync(resolve(cwd, 'upstreams.example.json')) || existsSync(resolve(cwd, '.data'))
}

type RequestUrl = Pick<ExplainedRequest, 'scheme' | 'host' | 'target'> & { readonly isHandshake: boolean }

/** `URL` is not used, since it would remove the dot segments and escapes that the command has to explain. */
function parseUrl(text: string): RequestUrl {
  if (text.startsWith('/')) return { scheme: 'http', host: 'localhost', target: text, isHandshake: false }
  const parts = /^(https?|wss?):\/\/([^/?#]+)([/?#].*)?$/is.exec(text)
  if (parts === null || /[^!-~]/.test(text))
    throw new UsageError(
      'URL cannot be read; expected http:, https:, ws: or wss:, or a path, in ASCII without spaces',
    )
  const rest = (parts[3] ?? '/').replace(/#.*$/s, '')
  const scheme = parts[1]!.toLowerCase()
  return {
    scheme: /s$/.test(scheme) ? 'https' : 'http',
    host: parts[2]!,
    target: rest.startsWith('/') ? rest : `/${rest}`,
    isHandshake: scheme.startsWith('ws'),
  }
}

function parseMethod(text: string): string {
  const method = text.toUpperCase()
  if (!/^[A-Z]+(?:-[A-Z]+)*$/.test(method))
    throw new UsageError(`--method: found ${JSON.stringify(text)}; expected a method such as POST`)
  return method
}

function parseHeader(line: string): [string, string] {
  const parts = /^([^:\s]+):[ \t]*(.*)$/s.exec(line)
  if (parts === null) throw new UsageError('--header: expected "Name: value"')
  const name = parts[1]!
  if (/^host$/i.test(name)) throw new UsageError('--header: Host cannot be given; it is taken from the URL')
  try {
    validateHeaderName(name)
  } catch {
    throw new UsageError(`--header: found the name ${JSON.stringify(name)}; expected the name of a header`)
  }
  return [name, checkHeaderValue(name, parts[2]!.trim())]
}

/** The error does not repeat the value, which may be a secret. */
function checkHeaderValue(name: string, value: string): string {
  try {
    validateHeaderValue(name, value)
    return value
  } catch {
    throw new UsageError(`the value of ${name} has a character that is not allowed in a header`)
  }
}

function renderExplanation(explanation: Explanation, paint: Paint): string {
  const lines: string[] = []
  for (const { title, details } of explanation.steps) {
    for (const [i, detail] of details.entries()) {
      const isAnswer = title === 'Answer' && i === 0
      lines.push(`${paint.bold((i === 0 ? title : '').padEnd(9))} ${isAnswer ? paint.bad(detail) : detail}`)
    }
  }
  if (explanation.forwards) lines.push(`${paint.bold('Answer'.padEnd(9))} ${paint.good("the target's")}`)
  return `${lines.join('\n')}\n`
}
