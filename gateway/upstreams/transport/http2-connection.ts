import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  type ClientSessionOptions,
  connect as connectHttp2,
  constants,
} from 'node:http2'
import type { Socket } from 'node:net'
import type { Readable } from 'node:stream'
import { requestFields, withoutPseudoFields } from './http2-fields.ts'
import type { Dispatcher } from './undici.ts'

/** What an attempt and a health check use of a dispatcher. */
export interface TargetDispatcher {
  dispatch(options: Dispatcher.DispatchOptions, handler: Dispatcher.DispatchHandler): unknown
  /** Lets exchanges finish first. */
  close(): Promise<void>
  /** Breaks exchanges off. */
  destroy(): Promise<void>
}

export interface Http2Options {
  readonly origin: string
  readonly responseMs: number
  readonly idleMs: number
  /** Age from which on new exchanges get a new connection; `Infinity` for never. */
  readonly maxAgeMs: number
  /** A connection to the target, its certificate checked. */
  readonly connect: () => Promise<Socket>
}

/** Bytes that a target may have under way to the gateway, of one stream and of all. */
const STREAM_WINDOW = 262_144
const CONNECTION_WINDOW = 4_194_304

/**
 * One connection of HTTP/2 for all exchanges with a target, in the terms of undici's dispatcher. undici's own
 * (8.12) drops what is held back for a slow client when the trailers come, and calls the short answer whole.
 */
export function createHttp2Connection(options: Http2Options): TargetDispatcher {
  let session: ClientHttp2Session | null = null
  let since = 0
  let connecting: Promise<ClientHttp2Session> | null = null

  async function open(): Promise<ClientHttp2Session> {
    const socket = await options.connect()
    const opened = connectHttp2(options.origin, {
      createConnection: () => socket,
      settings: { enablePush: false, initialWindowSize: STREAM_WINDOW },
      // A client may repeat a field that should occur once; it passes as over HTTP/1.1, and is not the target's failure.
      strictSingleValueFields: false,
    } as ClientSessionOptions)
    // Each stream gets an error of its own.
    opened.on('error', () => {})
    opened.once('connect', () => opened.setLocalWindowSize(CONNECTION_WINDOW))
    session?.close()
    session = opened
    since = performance.now()
    return opened
  }

  function usable(): ClientHttp2Session | Promise<ClientHttp2Session> {
    const old = performance.now() - since > options.maxAgeMs
    if (session !== null && !session.closed && !session.destroyed && !old) return session
    connecting ??= open().finally(() => {
      connecting = null
    })
    return connecting
  }

  return {
    async dispatch(request, handler) {
      let given: ClientHttp2Session
      try {
        given = await usable()
      } catch (error) {
        handler.onResponseError?.(null as never, error as Error)
        return
      }
      new Http2Exchange(request, handler, options).start(given)
    },
    async close() {
      const open = session
      if (open === null || open.destroyed) return
      await new Promise<void>((resolve) => open.close(() => resolve()))
    },
    async destroy() {
      session?.destroy()
    },
  }
}

class Http2Exchange implements Dispatcher.DispatchController {
  readonly #request: Dispatcher.DispatchOptions
  readonly #handler: Dispatcher.DispatchHandler
  readonly #options: Http2Options
  #stream: ClientHttp2Stream | null = null
  #answered = false
  #done = false
  #limitMs = 0
  rawHeaders: string[] = []
  rawTrailers: string[] = []
  aborted = false
  reason: Error | null = null

  constructor(
    request: Dispatcher.DispatchOptions,
    handler: Dispatcher.DispatchHandler,
    options: Http2Options,
  ) {
    this.#request = request
    this.#handler = handler
    this.#options = options
  }

  get paused(): boolean {
    return this.#stream?.isPaused() ?? false
  }

  pause(): void {
    this.#stream?.pause()
  }

  resume(): void {
    this.#stream?.resume()
  }

  abort(reason: Error): void {
    this.aborted = true
    this.reason = reason
    this.#fail(reason)
  }

  start(session: ClientHttp2Session): void {
    const body = (this.#request.body ?? null) as Readable | null
    this.#handler.onRequestStart?.(this, undefined)
    if (this.#done) return
    try {
      const fields = requestFields(this.#request, this.#options.origin)
      this.#stream = session.request(fields, { endStream: body === null })
    } catch (error) {
      this.#fail(error as Error)
      return
    }
    const stream = this.#stream
    this.#limit(stream, this.#options.responseMs)
    stream.on('timeout', () => this.#onTimeout(stream))
    stream.on('headers', (headers, _flags, raw) => this.#onHead(Number(headers[':status']), raw as never))
    stream.on('response', (headers, flags, raw) => {
      this.#answered = true
      this.#limit(stream, this.#options.idleMs)
      this.#onHead(Number(headers[':status']), raw as never)
      // Concluded in the same tick, so that it ends with its head for the client too: gRPC requires that of a response
      // that is nothing but trailers.
      if ((flags & constants.NGHTTP2_FLAG_END_STREAM) !== 0) this.#conclude()
    })
    stream.on('data', (chunk: Buffer) => this.#handler.onResponseData?.(this, chunk))
    stream.on('trailers', (_headers: unknown, _flags: unknown, raw: string[]) => {
      this.rawTrailers = withoutPseudoFields(raw)
    })
    // The event for trailers that came with the end follows in this tick.
    stream.once('end', () => setImmediate(() => this.#finish(stream)))
    stream.on('error', (error) => this.#fail(error))
    stream.once('close', () => setImmediate(() => this.#finish(stream)))
    body?.once('error', (error) => this.#fail(error))
    body?.pipe(stream)
  }

  #limit(stream: ClientHttp2Stream, ms: number): void {
    this.#limitMs = ms
    stream.setTimeout(ms)
  }

  /**
   * The time is the target's: it does not count while the client takes no more of the answer, or, before there is one,
   * sends no more of its body. undici has it so over HTTP/1.1.
   */
  #onTimeout(stream: ClientHttp2Stream): void {
    const body = this.#request.body as Readable | null | undefined
    const waitsForBody = !this.#answered && body != null && !body.readableEnded && !stream.writableNeedDrain
    if (stream.isPaused() || waitsForBody) stream.setTimeout(this.#limitMs)
    else this.#fail(timeoutError())
  }

  #onHead(status: number, raw: string[]): void {
    if (this.#done) return
    this.rawHeaders = withoutPseudoFields(raw)
    try {
      this.#handler.onResponseStarted?.()
      this.#handler.onResponseStart?.(this, status, {}, undefined)
    } catch (error) {
      // A head that the client's side cannot be given. undici does so too; thrown on, the error would end the process.
      this.#fail(error as Error)
    }
  }

  #finish(stream: ClientHttp2Stream): void {
    if (this.#done) return
    // A stream that was reset ends, too; only this distinguishes it from a whole one.
    if (!this.#answered || stream.rstCode !== constants.NGHTTP2_NO_ERROR || !stream.readableEnded) {
      this.#fail(Object.assign(new Error('the stream was reset'), { code: 'ECONNRESET' }))
      return
    }
    this.#conclude()
  }

  #conclude(): void {
    if (this.#done) return
    this.#finishRequest()
    this.#handler.onResponseEnd?.(this, {})
  }

  #fail(error: Error): void {
    if (this.#done) return
    this.#finishRequest()
    this.#stream?.close(constants.NGHTTP2_CANCEL)
    this.#handler.onResponseError?.(this, error)
  }

  #finishRequest(): void {
    this.#done = true
    this.#stream?.setTimeout(0)
    const body = this.#request.body as Readable | null | undefined
    if (body != null && !body.readableEnded) body.destroy()
  }
}

function timeoutError(): Error {
  return Object.assign(new Error('the target took too long'), { code: 'ETIMEDOUT' })
}
