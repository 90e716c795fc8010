import type { AttemptClient, ClientRequest, ClientResponse, ClientWatcher } from './client-side.ts'
import { createTargetConnections } from './connection-factory.ts'
import { parseTargetAddress, type TlsOptions } from './target-address.ts'
import type { Transport } from './transport.ts'
import type { TransportError } from './transport-errors.ts'

export interface HealthProbe {
  /** @returns null where the answer is 2xx or 3xx in time, else what is wrong; never rejects */
  readonly check: (path: string, timeoutMs: number) => Promise<string | null>
  close(): Promise<void>
}

/**
 * Checks on connections of their own, each on a new one: a target whose connections are all busy is not
 * unhealthy because of that, nor is one that has closed an idle connection.
 */
export function createHealthProbe(
  target: {
    readonly url: string
    readonly connectMs: number
    readonly http2: boolean
    readonly tls: TlsOptions | null
  },
  transport: Transport,
): HealthProbe {
  const { host } = parseTargetAddress(target.url)
  // The check's own deadline is the one that counts; these only bound what is left behind.
  const bounds = { responseMs: 60_000, idleMs: 60_000 }
  const connections = createTargetConnections({ ...target, ...bounds, keepAlive: false }, transport)
  const checks = new Set<ProbeClient>()

  function check(path: string, timeoutMs: number): Promise<string | null> {
    return new Promise((resolve) => {
      const client = new ProbeClient((problem) => {
        clearTimeout(deadline)
        resolve(problem)
      })
      const deadline = setTimeout(() => {
        resolve(`no answer to the check within ${timeoutMs} ms`)
        client.leave()
      }, timeoutMs)
      checks.add(client)
      const headers = ['Host', host, 'User-Agent', 'poweron-gateway-health']
      const request = { path, headers, hasBody: false, maxBodyBytes: 0, responseEdits: null }
      connections.begin(client, request, (outcome) => {
        checks.delete(client)
        if (outcome.kind === 'failed') client.onProblem(`the check failed: ${reasonOf(outcome.cause)}`)
      })
    })
  }

  return {
    check,
    close() {
      for (const client of checks) client.leave()
      return connections.close()
    },
  }
}

/** What the system said, where it said something. */
function reasonOf(error: unknown): string {
  const { cause } = error as TransportError
  if (cause instanceof Error) return 'code' in cause ? String(cause.code) : cause.message
  return (error as TransportError).message
}

const NO_REQUEST: ClientRequest = {
  method: 'GET',
  complete: true,
  bodyRead: true,
  brokenOff: false,
  readBody: () => () => {},
  pause() {},
  resume() {},
}

/** A client that wants the status of an answer and nothing else. */
class ProbeClient implements AttemptClient, ClientResponse {
  readonly request = NO_REQUEST
  readonly response = this
  readonly record = { requestId: '', bytesIn: 0, bytesOut: 0, eventStream: false }
  readonly isLast = () => false
  watcher: ClientWatcher | null = null
  headersSent = false
  destroyed = false
  readonly writableFinished = false
  readonly carriesTrailers = false
  readonly onProblem: (problem: string | null) => void

  /** @param onProblem called once with what is wrong, or null; calls that follow mean nothing */
  constructor(onProblem: (problem: string | null) => void) {
    this.onProblem = onProblem
  }

  /** Ends the check. */
  leave(): void {
    this.watcher?.clientClosed()
  }

  writeHead(status: number): void {
    this.headersSent = true
    this.onProblem(status < 400 ? null : `the check was answered with ${status}`)
  }

  /** The rest of the answer is not waited for. */
  flushHeaders(): void {
    this.leave()
  }

  write(): boolean {
    return true
  }

  onDrain(): void {}
  end(): void {}
  endConnection(): void {}
  inform(): void {}
  addTrailers(): void {}
  abort(): void {}
}
