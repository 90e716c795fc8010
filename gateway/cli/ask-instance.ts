import { type IncomingMessage, request as requestHttp } from 'node:http'
import { request as requestHttps } from 'node:https'
import type { ExplainQuestion } from '../admin/explain-question.ts'
import { escapeInvisible } from '../core/message-text.ts'
import type { Explanation, Step } from '../explain/explainer.ts'
import type { LiveExplanation } from '../explain/live-explainer.ts'
import type { Environment } from './environment.ts'
import { reportSource } from './resources.ts'
import { UsageError } from './usage.ts'

/** Longer than the slowest look-up of a gateway of several workers. */
const TIMEOUT_MS = 180_000

/** Far more than an explanation has. */
const MAX_ANSWER_BYTES = 4 * 1024 * 1024

/**
 * Asks a running gateway, by its admin listener. Says on stderr who answered, and what that process uses.
 *
 * @returns null where there is no answer; stderr says why
 */
export async function askInstance(
  admin: string,
  question: ExplainQuestion,
  environment: Environment,
): Promise<Explanation | null> {
  const url = explainUrl(admin)
  const answered = await post(url, JSON.stringify(question))
  if (answered.kind === 'failed') {
    reportSource(environment, `${url.origin} does not answer: ${escapeInvisible(answered.reason)}`)
    return null
  }
  const body = parseObject(answered.body)
  if (answered.status === 200 && isExplanation(body)) {
    const { sources, ...explanation } = body
    reportSources(environment, url, sources)
    return { ...explanation, steps: explanation.steps.map(escapeStep) }
  }
  const error = typeof body?.error === 'string' ? body.error : 'this is no admin listener of a gateway'
  if (answered.status === 400) throw new UsageError(escapeInvisible(error))
  reportSource(environment, `${url.origin} answers ${answered.status}: ${escapeInvisible(error)}`)
  return null
}

function explainUrl(admin: string): URL {
  const url = URL.parse(/^[^/?#]+:\d+$/.test(admin) ? `http://${admin}` : admin)
  if (url === null || !/^https?:$/.test(url.protocol) || url.search !== '' || url.hash !== '')
    throw new UsageError('--admin: expected the URL of an admin listener, such as http://127.0.0.1:9090')
  url.pathname = `${url.pathname.replace(/\/$/, '')}/explain`
  return url
}

type Answered =
  | { readonly kind: 'answered'; readonly status: number; readonly body: string }
  | { readonly kind: 'failed'; readonly reason: string }

/** `fetch` is not used: it sends fields of a browser, and to those the listener does not answer under every name. */
function post(url: URL, body: string): Promise<Answered> {
  return new Promise((resolve) => {
    const failed = (error: NodeJS.ErrnoException) =>
      resolve({ kind: 'failed', reason: error.message || (error.code ?? 'the connection failed') })
    const send = url.protocol === 'https:' ? requestHttps : requestHttp
    const headers = { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(body) }
    const request = send(
      url,
      { method: 'POST', headers, signal: AbortSignal.timeout(TIMEOUT_MS) },
      (response) => {
        readAnswer(response).then(
          (text) => resolve({ kind: 'answered', status: response.statusCode ?? 0, body: text }),
          failed,
        )
      },
    )
    request.on('error', failed)
    request.end(body)
  })
}

async function readAnswer(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of response as AsyncIterable<Buffer>) {
    bytes += chunk.length
    if (bytes > MAX_ANSWER_BYTES) throw new Error('its answer is too long')
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}

function parseObject(text: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : null
  } catch {
    return null
  }
}

function isExplanation(body: unknown): body is LiveExplanation {
  const { forwards, steps, sources } = (body ?? {}) as Partial<LiveExplanation>
  return (
    typeof forwards === 'boolean' && Array.isArray(steps) && typeof sources === 'object' && sources !== null
  )
}

/** Whoever answers must not write to the terminal what it obeys. */
function escapeStep({ title, details }: Step): Step {
  return {
    title: escapeInvisible(String(title)),
    details: details.map((each) => escapeInvisible(String(each))),
  }
}

function reportSources(environment: Environment, url: URL, sources: LiveExplanation['sources']): void {
  const { instance, pid, database, key, routingFile } = sources
  for (const line of [
    `asked ${url.origin}: ${instance}, process ${pid}`,
    `database ${database}`,
    `key from ${key}`,
    `routing file ${routingFile}`,
  ])
    reportSource(environment, escapeInvisible(line))
}
