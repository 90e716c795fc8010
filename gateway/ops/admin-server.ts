import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { Readiness } from '../endpoints.ts'

export interface AdminServerParts {
  readonly readiness: () => Readiness
  /** The exposition and its content type. */
  readonly scrape: (accept: string) => Promise<{ readonly contentType: string; readonly body: string }>
}

type Page = (req: IncomingMessage, res: ServerResponse) => Promise<void> | void

/** The listener for operators and Prometheus. It is not meant for the public: bind it to a private address. */
export function createAdminServer(parts: AdminServerParts): Server {
  const pages = new Map<string, Page>([
    ['/healthz', (_req, res) => json(res, 200, { status: 'ok' })],
    [
      '/readyz',
      (_req, res) => {
        const { ready, reasons } = parts.readiness()
        json(res, ready ? 200 : 503, ready ? { status: 'ready' } : { status: 'not ready', reasons })
      },
    ],
    [
      '/metrics',
      async (req, res) => {
        const { contentType, body } = await parts.scrape(req.headers.accept ?? '')
        send(res, 200, contentType, body)
      },
    ],
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
  })
  res.end(body)
}
