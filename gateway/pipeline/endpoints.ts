import type { ErrorPages } from '../core/error-pages/error-pages.ts'
import type { ErrorCode } from '../core/errors.ts'
import { isoTime } from '../core/iso-time.ts'
import type { Readiness } from '../core/readiness.ts'
import { answerDirectly, sendRefusal } from '../exchange/answers.ts'
import { clientIsGone, type Exchange } from '../exchange/exchange.ts'
import type { SessionEndpoints } from '../sessions/session-endpoints.ts'
import type { RequestTarget } from './admission.ts'
import type { Identification } from './identification.ts'

export interface OwnEndpoints {
  /** Answers a request below the gateway's own prefix. */
  handle(exchange: Exchange, request: OwnRequest): Promise<void>
}

export interface OwnRequest {
  /** What follows the prefix: `/healthz`. */
  readonly path: string
  readonly target: RequestTarget
  /** The scheme that the client speaks. */
  readonly scheme: 'http' | 'https'
}

export interface EndpointParts {
  readonly identify: Identification['identify']
  readonly readiness: () => Readiness
  /** Null where SESSION_ENDPOINTS is off. */
  readonly sessions: SessionEndpoints | null
  readonly accessCookie: string
  readonly pages: ErrorPages
}

interface Endpoint {
  readonly methods: readonly string[]
  run(exchange: Exchange, request: OwnRequest): Promise<void> | void
}

const JSON_TYPE = ['Content-Type', 'application/json']

/** The gateway's own endpoints on the public listener. */
export function createOwnEndpoints(parts: EndpointParts): OwnEndpoints {
  const { accessCookie, pages } = parts
  const read = ['GET', 'HEAD']
  const refuse = (exchange: Exchange, code: ErrorCode, allow?: readonly string[]) =>
    sendRefusal(exchange, code, { accessCookie, pages, allow })

  const endpoints = new Map<string, Endpoint>([
    ['/healthz', { methods: read, run: (exchange) => json(exchange, 200, { status: 'ok' }) }],
    [
      '/readyz',
      {
        methods: read,
        run(exchange) {
          const { ready, reasons } = parts.readiness()
          json(exchange, ready ? 200 : 503, ready ? { status: 'ready' } : { status: 'not ready', reasons })
        },
      },
    ],
    ['/session', { methods: read, run: session }],
  ])
  const { sessions } = parts
  if (sessions !== null) {
    endpoints.set('/refresh', { methods: ['POST'], run: changing(sessions.refresh) })
    endpoints.set('/logout', { methods: ['POST'], run: changing(sessions.logout) })
  }

  function changing(run: SessionEndpoints['refresh']): Endpoint['run'] {
    return async (exchange, { scheme, target }) => {
      const code = await run(exchange, { scheme, host: target.host })
      if (code !== null && !clientIsGone(exchange)) refuse(exchange, code)
    }
  }

  async function session(exchange: Exchange): Promise<void> {
    const decision = await parts.identify(exchange)
    if (clientIsGone(exchange)) return
    if (decision.kind === 'failed') return refuse(exchange, decision.error.code)
    if (decision.kind === 'refused') return refuse(exchange, decision.code)
    if (decision.kind === 'anonymous') return refuse(exchange, 'credentials_missing')
    const { userId, mandateId, sessionId } = decision.identity
    json(exchange, 200, { userId, mandateId, sessionId, expiresAt: isoTime(decision.expiresAt) })
  }

  return {
    async handle(exchange, request) {
      const endpoint = endpoints.get(request.path)
      if (endpoint === undefined) return refuse(exchange, 'route_not_found')
      if (!endpoint.methods.includes(exchange.request.method))
        return refuse(exchange, 'method_not_allowed', endpoint.methods)
      await endpoint.run(exchange, request)
    },
  }
}

function json(exchange: Exchange, status: number, value: object): void {
  answerDirectly(exchange, status, JSON_TYPE, Buffer.from(JSON.stringify(value)))
}
