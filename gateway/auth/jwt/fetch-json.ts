import { type IncomingMessage, request as requestByHttp } from 'node:http'
import { request as requestByHttps } from 'node:https'
import type { LookupFunction } from 'node:net'
import type { FetchJson } from './jwks.ts'

/** A key set of a hundred keys has some fifty kilobytes. */
const MAX_BYTES = 1_048_576

/** How a name becomes addresses, for whoever connects to it. */
interface FetchParts {
  readonly lookup: LookupFunction
}

/**
 * Fetches JSON documents, following no redirect. For what is fetched rarely and off the request path.
 *
 * Node's `fetch` leaves certificates unchecked where NODE_TLS_REJECT_UNAUTHORIZED=0 is in the environment, often for
 * another program's sake; whoever answers in the issuer's place then signs tokens.
 */
export function createFetchJson(parts: FetchParts): FetchJson {
  return async (url, timeoutMs) => {
    const answer = await ask(url, AbortSignal.timeout(timeoutMs), parts)
    const status = answer.statusCode ?? 0
    if (status < 200 || status > 299) {
      answer.destroy()
      throw new Error(`answered with ${status}`)
    }
    return JSON.parse(await readText(answer))
  }
}

function ask(url: string, signal: AbortSignal, { lookup }: FetchParts): Promise<IncomingMessage> {
  const headers = { accept: 'application/json', 'user-agent': 'poweron-gateway', connection: 'close' }
  const isHttps = url.toLowerCase().startsWith('https:')
  return new Promise((resolve, reject) => {
    const request = isHttps
      ? requestByHttps(url, { headers, signal, lookup, rejectUnauthorized: true })
      : requestByHttp(url, { headers, signal, lookup })
    // The listener stays: what is wrong behind the answer's head is an event of the request as well.
    request.on('error', reject).on('response', resolve)
    // The answer to a request for no upgrade may be one.
    request.on('close', () => reject(new Error('the connection was closed without an answer')))
    request.end()
  })
}

async function readText(answer: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of answer as AsyncIterable<Buffer>) {
    bytes += chunk.length
    if (bytes > MAX_BYTES) throw new Error(`answered with more than ${MAX_BYTES} bytes`)
    chunks.push(chunk)
  }
  // Without a byte order mark.
  return new TextDecoder().decode(Buffer.concat(chunks))
}
