import { systemScheduler } from '../../gateway/core/scheduler.ts'
import type { FieldGroup } from '../../gateway/http/field-group.ts'
import type { FindAddresses } from '../../gateway/names/address.ts'
import type { HttpOutcome } from '../../gateway/upstreams/transport/attempt-outcome.ts'
import type {
  AttemptClient,
  BodyReader,
  ClientRequest,
  ClientResponse,
  ClientWatcher,
} from '../../gateway/upstreams/transport/client-side.ts'
import { createTargetConnections } from '../../gateway/upstreams/transport/connection-factory.ts'
import type {
  BeginOptions,
  TargetConnections,
  TargetOptions,
} from '../../gateway/upstreams/transport/target-connections.ts'
import { createTransport, type Transport } from '../../gateway/upstreams/transport/transport.ts'
import { nothingToFind } from './name-server.ts'

export function testTransport(findAddresses: FindAddresses = nothingToFind): Transport {
  return createTransport({ findAddresses, scheduler: systemScheduler })
}

export function connectionsTo(
  options: Partial<TargetOptions> & Pick<TargetOptions, 'url'>,
  transport: Transport = testTransport(),
): TargetConnections {
  const limits = { connectMs: 2000, responseMs: 2000, idleMs: 2000 }
  return createTargetConnections({ ...limits, http2: false, tls: null, ...options }, transport)
}

export interface TestRequest {
  readonly method?: string
  readonly path?: string
  readonly headers?: readonly string[]
  /** Null: the request has none. It is pushed by `push` and `finish`, but for a text, which is there at once. */
  readonly body?: string | 'pushed' | null
  readonly maxBodyBytes?: number
}

/** A client's side that keeps what it gets, and whose body the test pushes. */
export class TestClient implements AttemptClient, ClientRequest, ClientResponse {
  readonly request = this
  readonly response = this
  readonly record = { requestId: 'r1', bytesIn: 0, bytesOut: 0, eventStream: false }
  readonly isLast = () => false
  watcher: ClientWatcher | null = null

  // The request.
  readonly method: string
  complete = true
  bodyRead = false
  brokenOff = false
  /** False while it is paused, as it is at the beginning. */
  flowing = false
  #reader: BodyReader | null = null
  readonly #pieces: (Buffer | null)[] = []

  // The response.
  headersSent = false
  destroyed = false
  writableFinished = false
  readonly carriesTrailers = true
  readonly informed: [number, readonly string[]][] = []
  status = 0
  reason: string | undefined
  fields: readonly string[] = []
  body = ''
  trailers: [string, string][] = []
  ended = false
  /** Called when the head was set. */
  onHead = () => {}
  onBody = () => {}
  /** Takes no more of the response until `drain`. */
  full = false
  #onDrained: (() => void) | null = null

  constructor(method = 'GET') {
    this.method = method
  }

  /** A piece of the body arrives; null for its end. */
  push(piece: string | Buffer | null): void {
    this.#pieces.push(typeof piece === 'string' ? Buffer.from(piece) : piece)
    this.#flow()
  }

  /** The client breaks its request off. */
  breakOff(): void {
    this.brokenOff = true
    this.#reader?.onBrokenOff(new Error('broken off'))
  }

  /** The client's connection closes. */
  leave(): void {
    this.destroyed = true
    this.watcher?.clientClosed()
  }

  drain(): void {
    this.full = false
    const onDrained = this.#onDrained
    this.#onDrained = null
    onDrained?.()
  }

  readBody(reader: BodyReader): () => void {
    this.#reader = reader
    return () => {
      this.#reader = null
    }
  }

  pause(): void {
    this.flowing = false
  }

  resume(): void {
    this.flowing = true
    this.#flow()
  }

  #flow(): void {
    while (this.flowing && this.#reader !== null && this.#pieces.length > 0) {
      const piece = this.#pieces.shift()!
      if (piece !== null) this.#reader.onChunk(piece)
      else {
        this.bodyRead = true
        this.#reader.onEnd()
      }
    }
  }

  endConnection(): void {}

  inform(status: number, fields: string[]): void {
    this.informed.push([status, fields])
  }

  writeHead(
    status: number,
    reason: string | undefined,
    fields: readonly string[],
    first: FieldGroup | null = null,
  ): void {
    this.headersSent = true
    this.status = status
    this.reason = reason
    this.fields = first === null ? fields : [...first.fields, ...fields]
    this.onHead()
  }

  flushHeaders(): void {}

  write(chunk: Buffer): boolean {
    this.body += chunk.toString('latin1')
    this.onBody()
    return !this.full
  }

  addTrailers(trailers: [string, string][]): void {
    this.trailers = trailers
  }

  end(body: Buffer | string | null = null): void {
    if (body !== null) this.body += body.toString('latin1')
    this.ended = true
    this.writableFinished = true
  }

  onDrain(onDrained: () => void): void {
    this.#onDrained = onDrained
  }

  abort(): void {
    this.destroyed = true
  }

  /** The value of a field of the answer; null where there is none. */
  field(name: string): string | null {
    const at = this.fields.findIndex((each, i) => i % 2 === 0 && each.toLowerCase() === name)
    return at === -1 ? null : this.fields[at + 1]!
  }
}

export interface Exchange {
  readonly client: TestClient
  readonly outcome: Promise<HttpOutcome>
}

/** Begins one attempt. */
export function exchange(
  connections: TargetConnections,
  request: TestRequest = {},
  options?: BeginOptions,
): Exchange {
  const { body = null, method = body === null ? 'GET' : 'POST' } = request
  const client = new TestClient(method)
  if (body !== null && body !== 'pushed') {
    client.push(body)
    client.push(null)
  }
  const attempt = {
    path: request.path ?? '/',
    headers: ['Host', 'a', ...(request.headers ?? [])],
    hasBody: body !== null,
    maxBodyBytes: request.maxBodyBytes ?? Number.POSITIVE_INFINITY,
    responseEdits: null,
  }
  const outcome = new Promise<HttpOutcome>((resolve) => connections.begin(client, attempt, resolve, options))
  return { client, outcome }
}
