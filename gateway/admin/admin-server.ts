import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { Readiness } from '../core/readiness.ts'
import type { Exposition } from '../telemetry/metrics/exposition.ts'
import { type ExpositionFormat, formatFor } from '../telemetry/metrics/exposition-format.ts'
import type { AdminGuard } from './admin-guard.ts'
import { answerQuestion, type Explain } from './explain-endpoint.ts'
import type { Status } from './status.ts'
import type { StatusPage } from './status-page.ts'

export interface AdminServerParts {
  readonly readiness: () => Promise<Readiness>
  /** The exposition and its content type. */
  readonly scrape: (format: ExpositionFormat) => Promise<Exposition>
  /** @param since cursor of the history's part that the asker has */
  readonly status: (since: string | null) => Promise<Status>
  readonly explain: Explain
  readonly page: StatusPage
  readonly guard: AdminGuard
}

/** The only page that takes a body, and so a method of its own. */
const EXPLAIN = '/explain'

type Page = (url: URL, res: ServerResponse, req: IncomingMessage) => Promise<void> | void

/** Requests to this listener have a small head and, but for questions to `explain`, no body. */
const LIMITS = { headersTimeout: 10_000, requestTimeout: 30_000, maxHeaderSize: 16_384 }

/**
 * These keep a browser from guessing the type of an answer, showing it in a frame, giving it to a page of another site,
 * and sending its URL as `Referer`. There is no CORS, so only the status page itself may read answers.
 */
const SAFE_HEADERS = {
  'Cache-Control': 'no-store',
  'X-Content-Type-Options': 'nosniff',
  'X-Frame-Options': 'DENY',
  'Cross-Origin-Resource-Policy': 'same-origin',
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Referrer-Policy': 'no-referrer',
  'Content-Security-Policy':
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
}

/** The listener for operators and Prometheus. It is not meant for the public: bind it to a private address. */
export function createAdminServer(parts: AdminServerParts): Server {
  const { page, guard } = parts

  async function status(url: URL, res: ServerResponse): Promise<void> {
    json(res, 200, await parts.status(url.searchParams.get('since')))
  }

  const pages = new Map<string, Page>([
    ['/healthz', (_url, res) => json(res, 200, { status: 'ok' })],
    [
      '/readyz',
      async (_url, res) => {
        const { ready, reasons, causes } = await parts.readiness()
        json(res, ready ? 200 : 503, ready ? { status: 'ready' } : { status: 'not ready', reasons, causes })
      },
    ],
    [
      '/metrics',
      async (_url, res, { headers }) => {
        const { contentType, body } = await parts.scrape(formatFor(headers.accept))
        res.setHeader('Vary', 'Accept')
        send(res, 200, { 'Content-Type': contentType }, body)
      },
    ],
    ['/status.json', status],
    [
      EXPLAIN,
      async (_url, res, req) => {
        const { status, body } = await answerQuestion(req, parts.explain)
        // The rest of a question that is too long is not read.
        if (!req.complete) res.setHeader('Connection', 'close')
        json(res, status, body)
      },
    ],
    [
      '/',
      (url, res, { headers }) => {
        res.setHeader('Vary', 'Accept')
        if (prefersJson(headers.accept)) return status(url, res)
        const policy = page.contentSecurityPolicy
        send(
          res,
          200,
          { 'Content-Type': 'text/html; charset=utf-8', 'Content-Security-Policy': policy },
          page.html,
        )
        return
      },
    ],
  ])

  return createServer(LIMITS, (req, res) => {
    const refused = guard(req.headers)
    if (refused !== null) return json(res, 403, { error: refused })
    // RFC 9112, section 3.2.2: the absolute form, too.
    const target = req.url ?? '/'
    const url = URL.parse(target.startsWith('/') ? `http://admin${target}` : target)
    const found = url === null ? undefined : pages.get(url.pathname)
    if (url === null || found === undefined)
      return json(res, 404, { error: 'no such page', pages: [...pages.keys()] })
    const allowed = url.pathname === EXPLAIN ? ['POST'] : ['GET', 'HEAD']
    if (!allowed.includes(req.method ?? '')) {
      res.setHeader('Allow', allowed.join(', '))
      return json(res, 405, { error: `${allowed.join(' or ')} only` })
    }
    Promise.resolve(found(url, res, req)).catch(() => {
      if (!res.headersSent) json(res, 500, { error: 'the page could not be made' })
    })
  })
}

/** True where `Accept` names JSON and no HTML. */
function prefersJson(accept = ''): boolean {
  return /\bapplication\/json\b/.test(accept) && !/\btext\/html\b/.test(accept)
}

function json(res: ServerResponse, status: number, value: object): void {
  send(res, status, { 'Content-Type': 'application/json' }, `${JSON.stringify(value)}\n`)
}

function send(
  res: ServerResponse,
  status: number,
  headers: Readonly<Record<string, string>>,
  body: string,
): void {
  res.writeHead(status, { ...SAFE_HEADERS, ...headers, 'Content-Length': Buffer.byteLength(body) })
  res.end(body)
}
