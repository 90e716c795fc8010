import type { IncomingMessage } from 'node:http'
import {
  type ExplainAnswer,
  type ExplainQuestion,
  parseQuestion,
  QUESTION_EXPECTED,
} from './explain-question.ts'

/** Asks a serving process. @returns null where none answers */
export type Explain = (question: ExplainQuestion) => Promise<ExplainAnswer | null>

/** Far more than the head of a request that a gateway accepts. */
const MAX_BODY_BYTES = 256 * 1024

export interface EndpointAnswer {
  readonly status: number
  readonly body: object
}

/** `POST /explain`: what the gateway would do with a request. Nothing is sent or changed. */
export async function answerQuestion(req: IncomingMessage, explain: Explain): Promise<EndpointAnswer> {
  const body = await readBody(req)
  if (body === null)
    return { status: 413, body: { error: `the question has more than ${MAX_BODY_BYTES} bytes` } }
  const question = parseQuestion(body)
  if (question === null) return { status: 400, body: { error: QUESTION_EXPECTED } }
  const answer = await explain(question)
  if (answer === null) return { status: 503, body: { error: 'no process of the gateway answers' } }
  switch (answer.kind) {
    case 'explained':
      return { status: 200, body: answer.explanation }
    case 'misunderstood':
      return { status: 400, body: { error: answer.problem } }
    case 'busy':
      return { status: 503, body: { error: 'too many requests are being explained; ask again' } }
  }
}

/** @returns null where the body is too long; the rest of it is not read */
async function readBody(req: IncomingMessage): Promise<string | null> {
  const chunks: Buffer[] = []
  let bytes = 0
  // Destroyed, the request could no longer be answered.
  for await (const chunk of req.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    bytes += chunk.length
    if (bytes > MAX_BODY_BYTES) return null
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}
