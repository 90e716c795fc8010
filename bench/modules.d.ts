// The used parts of packages that only a run of the benchmark installs, so that types are checked without them.

declare module 'fastify' {
  interface Reply {
    code(status: number): Reply
    send(body: string): Reply
  }
  interface Request {
    readonly raw: import('node:http').IncomingMessage
  }
  interface App {
    register(plugin: unknown, options: object): App
    listen(options: { port: number; host: string }): Promise<string>
  }

  export type { Reply, Request }
  export default function fastify(options: { logger: boolean }): App
}

declare module '@fastify/http-proxy' {
  const proxy: unknown
  export default proxy
}

declare module 'http-proxy-3' {
  interface Proxy {
    web(req: import('node:http').IncomingMessage, res: import('node:http').ServerResponse): void
    on(
      event: 'error',
      listener: (error: Error, req: unknown, res: import('node:stream').Duplex) => void,
    ): Proxy
    on(event: 'proxyReq', listener: (request: import('node:http').ClientRequest) => void): Proxy
  }
  export function createProxyServer(options: {
    target: string
    agent?: import('node:http').Agent
    headers?: Record<string, string>
  }): Proxy
}

declare module 'autocannon' {
  interface Result {
    readonly requests: { readonly total: number }
    readonly duration: number
    readonly non2xx: number
    readonly errors: number
    readonly latency: Readonly<Record<'p50' | 'p99' | 'p99_9', number>>
  }
  interface PendingRequest {
    headers?: Record<string, string>
  }
  export default function autocannon(options: {
    url: string
    connections: number
    duration: number
    requests: { method: string; path: string; setupRequest(request: PendingRequest): PendingRequest }[]
  }): Promise<Result>
}
