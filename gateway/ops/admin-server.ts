import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { Readiness } from '../endpoints.ts'
import type { Exposition } from './exposition.ts'
import { type ExpositionFormat, formatFor } from './exposition-format.ts'
import type { Sample } from './history.ts'
import type { Status } from './status.ts'

export interface AdminServerParts {
  readonly readiness: () => Promise<Readiness>
  /** The exposition and its content type. */
  readonly scrape: (format: ExpositionFormat) => Promise<Exposition>
  /** Null where no worker answers. */
  readonly status: () => Promise<Status | null>
  readonly samples: readonly Sample[]
  /** The status page, whole. */
  readonly page: string
}

type Page = (req: IncomingMessage, res: ServerResponse) => Promise<void> | void

/** The listener for operators and Prometheus. It is not meant for the public: bind it to a private address. */
export function createAdminServer(parts: AdminServerParts): Server {
  const pages = new Map<string, Page>([
    ['/healthz', (_req, res) => json(res, 200, { status: 'ok' })],
    [
      '/readyz',
      async (_req, res) => {
        const { ready, reasons } = await parts.readiness()
        json(res, ready ? 200 : 503, ready ? { status: 'ready' } : { status: 'not ready', reasons })
      },
    ],
    [
      '/metrics',
      async (req, res) => {
        const { contentType, body } = await parts.scrape(formatFor(req.headers.accept))
        res.setHeader('Vary', 'Accept')
        send(res, 200, contentType, body)
      },
    ],
    [
      '/status.json',
      async (_req, res) => {
        const status = await parts.status()
        if (status === null) json(res, 503, { error: 'no worker answers' })
        else json(res, 200, { ...status, history: parts.samples })
      },
    ],
    ['/', (_req, res) => send(res, 200, 'text/html; charset=utf-8', parts.page)],
  ])

  return createServer((req, res) => {
    const page = pages.get((req.url ?? '').split('?', 1)[0] ?? '')
    if (page === undefined) return json(res, 404, { error: 'no such page', pages: [...pages.keys()] })
    if (req.method !== 'GET' && req.method !== 'HEAD') {
      res.setHeader('Allow', 'GET, HEAD')
      return json(res, 405, { error: 'GET or HEAD only' })
    }
    Promise.resolve(page(req, res)).catch(() => {
      if (!res.headersSent) json(res, 500, { error: 'the page could not be made' })
    })
  })
}

function json(res: ServerResponse, status: number, value: object): void {
  send(res, status, 'application/json', `${JSON.stringify(value)}\n`)
}

function send(res: ServerResponse, status: number, contentType: string, body: string): void {
  res.writeHead(status, {
    'Content-Type': contentType,
    'Content-Length': Buffer.byteLength(body),
    'Cache-Control': 'no-store',
    'X-Content-Type-Options': 'nosniff',
    'Content-Security-Policy':
      "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  })
  res.end(body)
}
