import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import type { ExplainQuestion } from '../admin/explain-question.ts'
import { escapeInvisible } from '../core/message-text.ts'
import {
  createExplainer,
  type ExplainedRequest,
  type Explainer,
  type Explanation,
} from '../explain/explainer.ts'
import { readQuestion } from '../explain/question.ts'
import type { RoutingConfig } from '../routing/file/file-schema.ts'
import { loadRoutingFile } from '../routing/file/load-file.ts'
import type { Settings } from '../settings/values.ts'
import type { Arguments } from './arguments.ts'
import { askInstance } from './ask-instance.ts'
import type { Environment } from './environment.ts'
import { exampleRoutingFile } from './example-routing.ts'
import { loadSettings, reportSource, withResources } from './resources.ts'
import { type Paint, paintFor } from './terminal.ts'
import { UsageError } from './usage.ts'

/** `explain … URL`. @returns 0 if it would forward, else 1 */
export async function explainRequest(args: Arguments, environment: Environment): Promise<number> {
  const question = await questionOf(args, environment)
  const admin = args.text('admin')
  const explanation =
    admin === null
      ? await explainHere(question, environment)
      : await askInstance(admin, question, environment)
  if (explanation === null) return 1
  const { stdout, env } = environment
  stdout.write(
    args.has('json')
      ? `${JSON.stringify(explanation, null, 2)}\n`
      : renderExplanation(explanation, paintFor(stdout, env)),
  )
  return explanation.forwards ? 0 : 1
}

async function questionOf(args: Arguments, { stdin }: Environment): Promise<ExplainQuestion> {
  const [url] = args.positionals
  if (url === undefined)
    throw new UsageError('URL is missing; expected one such as http://localhost:8080/api')
  const cookie = args.text('cookie')
  const token = args.text('token')
  if (cookie !== null && token !== null)
    throw new UsageError('--cookie and --token are both given; expected one of them')
  const question = {
    url,
    method: args.text('method') ?? 'GET',
    headers: args.texts('header'),
    cookie,
    token: token === '-' ? await readToken(stdin) : token,
  }
  // Before the settings are looked at. The cookie has its name from them, and any name will do here.
  requestOf(question, 'cookie')
  return question
}

/** @throws UsageError */
function requestOf(question: ExplainQuestion, accessCookie: string): ExplainedRequest {
  const read = readQuestion(question, accessCookie)
  if (!read.ok) throw new UsageError(read.problem)
  return read.request
}

async function readToken(stdin: Environment['stdin']): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of stdin) chunks.push(Buffer.from(chunk as Uint8Array))
  return Buffer.concat(chunks).toString('utf8').trim()
}

/** @returns null where the routing file is not usable */
function explainHere(question: ExplainQuestion, environment: Environment): Promise<Explanation | null> {
  const settings = loadSettings(environment)
  return withResources(environment, { settings, needsKey: true }, async (resources) => {
    const config = await loadRouting(settings, environment)
    if (config === null) return null
    const keySource = resources.keySource!
    const request = requestOf(question, settings.accessCookie)
    return explainOnce(createExplainer({ ...resources, keySource, config }), request)
  })
}

async function explainOnce(creating: Promise<Explainer>, request: ExplainedRequest): Promise<Explanation> {
  const explainer = await creating
  try {
    return await explainer.explain(request)
  } finally {
    await explainer.close()
  }
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
