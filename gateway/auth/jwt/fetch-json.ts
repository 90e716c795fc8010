import { type IncomingMessage, request as requestByHttp } from 'node:http'
import { request as requestByHttps } from 'node:https'
import type { LookupFunction } from 'node:net'
import type { FetchJson } from './jwks.ts'

/** Far more than a key set of a hundred keys, which has some fifty kilobytes. */
const MAX_BYTES = 1_048_576

interface FetchParts {
  /** Resolves the host's name. */
  readonly lookup: LookupFunction
}

/**
 * Fetches JSON documents and follows no redirect; not for the request path.
 *
 * Node's `fetch` is not used, because NODE_TLS_REJECT_UNAUTHORIZED=0 in the environment, often set for another program,
 * would turn its check of certificates off. An attacker in the issuer's place could then publish keys of their own.
 */
export function createFetchJson(parts: FetchParts): FetchJson {
  return async (url, timeoutMs) => {
    const answer = await sendRequest(url, AbortSignal.timeout(timeoutMs), parts)
    const status = answer.statusCode ?? 0
    if (status < 200 || status > 299) {
      answer.destroy()
      throw new Error(`answered with ${status}`)
    }
    return JSON.parse(await readText(answer))
  }
}

function sendRequest(url: string, signal: AbortSignal, { lookup }: FetchParts): Promise<IncomingMessage> {
  const headers = { accept: 'application/json', 'user-agent': 'poweron-gateway', connection: 'close' }
  const isHttps = url.toLowerCase().startsWith('https:')
  return new Promise((resolve, reject) => {
    const request = isHttps
      ? requestByHttps(url, { headers, signal, lookup, rejectUnauthorized: true, ...serverNameOf(url) })
      : requestByHttp(url, { headers, signal, lookup })
    // Errors behind the head of the answer are events of the request too, so the listener stays.
    request.on('error', reject).on('response', resolve)
    // A server may answer with an upgrade, for which there is no `response` event.
    request.on('close', () => reject(new Error('the connection was closed without an answer')))
    request.end()
  })
}

/** Names have no dot at their end in TLS (RFC 6066, section 3), and Node would send it. Addresses are not sent. */
function serverNameOf(url: string): { readonly servername?: string } {
  const { hostname } = new URL(url)
  return hostname.endsWith('.') ? { servername: hostname.slice(0, -1) } : {}
}

async function readText(answer: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of answer as AsyncIterable<Buffer>) {
    bytes += chunk.length
    if (bytes > MAX_BYTES) throw new Error(`answered with more than ${MAX_BYTES} bytes`)
    chunks.push(chunk)
  }
  // TextDecoder removes a byte order mark.
  return new TextDecoder().decode(Buffer.concat(chunks))
}
