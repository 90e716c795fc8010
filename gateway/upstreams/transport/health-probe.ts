import type { Socket } from 'node:net'
import type { HttpOutcome } from './attempt-outcome.ts'
import { CheckClient } from './check-client.ts'
import { createTargetConnections, createTargetConnector } from './connection-factory.ts'
import type { ConnectHandler, ConnectOptions, Connector, PendingConnection } from './connector.ts'
import { parseTargetAddress } from './target-address.ts'
import type { TargetConnections, TargetOptions } from './target-connections.ts'
import { TimeLimit } from './time-limit.ts'
import type { Transport } from './transport.ts'
import type { TransportError } from './transport-errors.ts'

export interface HealthProbe {
  /** @returns null where the status is 2xx or 3xx and came in time, else what is wrong; never rejects */
  readonly check: (path: string, timeoutMs: number) => Promise<string | null>
  /** Gives up the checks under way, which have no result then. */
  close(): void
}

type CheckedTarget = Pick<TargetOptions, 'url' | 'http2' | 'tls'>

/**
 * Checks a target, each time on a new connection that nothing else uses: a target whose connections are all busy is not
 * unhealthy because of that, nor is one that has closed an idle connection, and a connection that is stuck makes no
 * other check fail.
 *
 * @throws the file system's error where a TLS file cannot be read
 */
export function createHealthProbe(target: CheckedTarget, transport: Transport): HealthProbe {
  const connector = createTargetConnector(target, transport)
  const checks = new Set<Check>()
  return {
    check: (path, timeoutMs) =>
      new Promise((resolve) => {
        const check = new Check({
          target,
          transport,
          connector: new CheckConnector(connector),
          timeoutMs,
          onResult(problem) {
            checks.delete(check)
            resolve(problem)
          },
        })
        checks.add(check)
        check.begin(path)
      }),
    close() {
      for (const check of checks) check.end()
    },
  }
}

interface CheckParts {
  readonly target: CheckedTarget
  readonly transport: Transport
  readonly connector: CheckConnector
  readonly timeoutMs: number
  /** Called once, unless the check is ended before. */
  readonly onResult: (problem: string | null) => void
}

class Check {
  readonly #parts: CheckParts
  readonly #limit: TimeLimit
  readonly #client: CheckClient
  readonly #connections: TargetConnections
  #over = false

  constructor(parts: CheckParts) {
    const { target, transport, connector, timeoutMs } = parts
    this.#parts = parts
    this.#limit = new TimeLimit(transport.deadlines, () =>
      this.#conclude(`no answer to the check within ${timeoutMs} ms`),
    )
    this.#client = new CheckClient((status) =>
      this.#conclude(status < 400 ? null : `the check was answered with ${status}`),
    )
    // The check's own limit is the one that counts. Node keeps those of HTTP/2, by another clock.
    const limits = { connectMs: timeoutMs, responseMs: 2 * timeoutMs, idleMs: 2 * timeoutMs }
    this.#connections = createTargetConnections(
      { ...target, ...limits, keepAlive: false },
      transport,
      connector,
    )
  }

  begin(path: string): void {
    const { target, timeoutMs } = this.#parts
    this.#limit.start(timeoutMs)
    const headers = ['Host', parseTargetAddress(target.url).host, 'User-Agent', 'poweron-gateway-health']
    const request = { path, headers, hasBody: false, maxBodyBytes: 0, responseEdits: null }
    this.#connections.begin(this.#client, request, (outcome) => this.#conclude(problemOf(outcome)))
  }

  end(): void {
    this.#over = true
    this.#limit.close()
    // Not amid the answer that it ends.
    setImmediate(() => {
      this.#client.leave()
      void this.#connections.close()
      this.#parts.connector.close()
    })
  }

  #conclude(problem: string | null): void {
    if (this.#over) return
    this.end()
    this.#parts.onResult(problem)
  }
}

/** What is wrong where a check ends before there is a status. */
function problemOf(outcome: HttpOutcome): string {
  if (outcome.kind === 'unplaced') return 'the check failed: the target allows no stream'
  return outcome.kind === 'failed' || outcome.kind === 'unsendable'
    ? `the check failed: ${reasonOf(outcome.cause)}`
    : 'the check was broken off'
}

/** What the system said, where it said something. */
function reasonOf(error: unknown): string {
  const { cause } = error as TransportError
  if (cause instanceof Error) return 'code' in cause ? String(cause.code) : cause.message
  return (error as TransportError).message
}

/** Knows the connections of one check, to close them at its end whatever the target does with them. */
class CheckConnector implements Connector {
  readonly #connector: Connector
  readonly #open: (() => void)[] = []

  constructor(connector: Connector) {
    this.#connector = connector
  }

  connect(options: ConnectOptions, handler: ConnectHandler): PendingConnection {
    const pending = this.#connector.connect(options, {
      onConnected: (socket: Socket) => {
        this.#open.push(() => socket.destroy())
        handler.onConnected(socket)
      },
      onFailed: (error) => handler.onFailed(error),
    })
    this.#open.push(() => pending.close())
    return pending
  }

  close(): void {
    for (const close of this.#open) close()
  }
}
