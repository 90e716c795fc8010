import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { clientHeaders, type HeaderEdits } from '../../http/headers.ts'
import { readReasonPhrase } from '../../http/status-line.ts'
import type { ResponseHead } from '../../http1/heads.ts'
import type { MessageParser } from '../../http1/message-parser.ts'
import type { Disposition, MessageHandler } from '../../http1/messages.ts'
import { ANSWER_LIMITS, InformationalCount } from './answer-limits.ts'
import { AnswerRelay, type AnswerSource } from './answer-relay.ts'
import type { AttemptFailure } from './attempt-outcome.ts'
import type { AttemptRecord, ClientResponse } from './client-side.ts'
import { type Connector, createConnector } from './connector.ts'
import { Deadline, type DeadlineOwner } from './deadlines.ts'
import { spliceSockets } from './splice.ts'
import { parseTargetAddress, type TlsOptions } from './target-address.ts'
import type { Transport } from './transport.ts'
import { faultOf, TransportError, upstreamErrorCode } from './transport-errors.ts'
import { checkSwitch, firstValue } from './websocket-handshake.ts'

/** The WebSocket handshake of one client, checked and authenticated already. */
export interface UpgradeRequest {
  /** Answers the client as long as the connection was not switched over. */
  readonly response: ClientResponse
  /** Gets the bytes that cross after the switch; of another answer those of its body. */
  readonly record: AttemptRecord
  readonly socket: Duplex
  /** Bytes that came behind the handshake; they reach the target only after it switched over. */
  readonly head: Buffer
  readonly path: string
  /** Flat name, value pairs, without `Connection` and `Upgrade`. */
  readonly headers: readonly string[]
  readonly responseEdits: HeaderEdits | null
}

export type UpgradeOutcome =
  /** Switched over, and both connections have ended since. */
  | { readonly kind: 'closed' }
  /** The target answered with something else than 101; it was passed on. */
  | { readonly kind: 'answered'; readonly status: number }
  | { readonly kind: 'client-gone' }
  | AttemptFailure

export interface UpgradeTarget {
  readonly url: string
  readonly connectMs: number
  readonly responseMs: number
  readonly idleMs: number
  /** How long a WebSocket may be silent; null for as long as it likes. */
  readonly silenceMs: number | null
  readonly tls: TlsOptions | null
}

export interface UpgradeAttempts {
  /**
   * Never rejects.
   *
   * @param onOpen called when the connection is switched over, with the means to break it
   */
  forward(request: UpgradeRequest, onOpen: (breakOff: () => void) => void): Promise<UpgradeOutcome>
}

/**
 * Forwards WebSocket handshakes to one target, each on a connection of its own.
 *
 * @throws the file system's error where a TLS file cannot be read
 */
export function createUpgradeAttempts(target: UpgradeTarget, transport: Transport): UpgradeAttempts {
  const connector = createConnector({
    address: parseTargetAddress(target.url),
    tls: target.tls,
    lookup: transport.lookup,
    protocols: ['http/1.1'],
  })
  return {
    forward: (request, onOpen) =>
      new Promise((resolve) => {
        new UpgradeAttempt({ target, transport, connector, request, onOpen, resolve }).start()
      }),
  }
}

interface AttemptParts {
  readonly target: UpgradeTarget
  readonly transport: Transport
  readonly connector: Connector
  readonly request: UpgradeRequest
  readonly onOpen: (breakOff: () => void) => void
  readonly resolve: (outcome: UpgradeOutcome) => void
}

/** What a side that is to get no more has to take what is on its way to it. */
const CLOSING_MS = 10_000

class UpgradeAttempt implements MessageHandler<ResponseHead>, AnswerSource, DeadlineOwner {
  readonly reusesBuffers = false
  readonly #parts: AttemptParts
  readonly #target: Socket
  readonly #parser: MessageParser<ResponseHead>
  readonly #relay: AnswerRelay
  readonly #deadline = new Deadline(this)
  readonly #informational = new InformationalCount()
  #unwatch: () => void
  readonly #onClientClose = () => this.#settle({ kind: 'client-gone' })
  readonly #onData = (bytes: Buffer) => this.#read(bytes)
  #connected = false
  #answerBegan = false
  #headSeen = false
  #answered = false
  #switched: ResponseHead | null = null
  #trailers: readonly string[] = []
  #settled = false

  constructor(parts: AttemptParts) {
    const { transport, connector, request } = parts
    this.#parts = parts
    this.#parser = transport.wire.createResponseParser(this, ANSWER_LIMITS)
    this.#relay = new AnswerRelay(this, transport.endOfTick)
    this.#target = connector.connect(null)
    this.#unwatch = watchForLeaving(request.socket)
  }

  start(): void {
    const { connector, request, target, transport } = this.#parts
    transport.limits.of(target.connectMs).start(this.#deadline)
    request.socket.once('close', this.#onClientClose)
    if (request.socket.destroyed) this.#onClientClose()
    this.#target.once(connector.readyEvent, () => this.#onConnected())
    this.#target.on('data', this.#onData)
    this.#target.once('end', () => this.#onEnded())
    this.#target.on('error', (error) => this.#onBroken(error))
    this.#target.once('close', () => this.#onBroken(undefined))
    this.#relay.begin(
      {
        request: { method: 'GET' },
        response: request.response,
        record: request.record,
        // A handshake takes its connection along: what follows it is no request.
        isLast: () => true,
      },
      request.responseEdits,
    )
  }

  onDeadline(): void {
    if (!this.#connected) this.#fail(new TransportError('connect_timeout'))
    else this.#fail(new TransportError(this.#headSeen ? 'idle_timeout' : 'response_timeout'))
  }

  onHead(head: ResponseHead): Disposition {
    const { status, reason, fields } = head
    if (status === 101) {
      const problem = checkSwitch(head, firstValue(this.#parts.request.headers, 'sec-websocket-key'))
      if (problem !== null) throw new TransportError('invalid', { detail: problem })
      this.#switched = head
      return 'upgrade'
    }
    if (status < 200) {
      this.#informational.add(fields)
      if (status !== 100) this.#relay.passInformation(status, fields)
    } else {
      this.#headSeen = true
      this.#relay.passHead(status, reason, fields)
    }
    return 'read'
  }

  onBody(bytes: Buffer): void {
    this.#relay.passBody(bytes)
  }

  onEnd(trailers: readonly string[]): void {
    this.#trailers = trailers
  }

  pauseAnswer(): void {
    this.#deadline.stop()
    this.#target.pause()
  }

  resumeAnswer(): void {
    this.#startIdle()
    this.#target.resume()
  }

  onPassed(status: number): void {
    this.#settle({ kind: 'answered', status })
  }

  onUnpassable(error: unknown): void {
    this.#fail(new TransportError('invalid', { cause: error }))
  }

  #onConnected(): void {
    const { request, target, transport } = this.#parts
    if (this.#settled) return
    this.#connected = true
    const fields = [...request.headers, 'Connection', 'Upgrade', 'Upgrade', 'websocket']
    try {
      this.#target.write(transport.heads.formatRequest('GET', request.path, fields), 'latin1')
    } catch (error) {
      this.#fail(new TransportError('invalid', { cause: error, detail: 'the request' }))
      return
    }
    transport.limits.of(target.responseMs).start(this.#deadline)
  }

  #read(bytes: Buffer): void {
    if (this.#settled || this.#answered) return
    this.#answerBegan = true
    try {
      const outcome = this.#parser.execute(bytes)
      if (outcome === 'upgrade') this.#open(bytes.subarray(this.#parser.position))
      else if (outcome === 'ended') this.#conclude()
      else if (outcome === 'error')
        this.#fail(new TransportError('invalid', { detail: this.#parser.error?.reason ?? '' }))
      else if (this.#headSeen && !this.#target.isPaused()) this.#startIdle()
    } catch (error) {
      this.#fail(error instanceof TransportError ? error : new TransportError('invalid', { cause: error }))
    }
  }

  /** @param early what the target has sent behind its 101 */
  #open(early: Buffer): void {
    const {
      request,
      target: { silenceMs },
      transport,
      onOpen,
      resolve,
    } = this.#parts
    const { socket: client, record, head } = request
    const { status, reason, fields } = this.#switched!
    const own = clientHeaders(fields, record.requestId, request.responseEdits, false).fields
    const text = transport.heads.formatResponse(status, readReasonPhrase(status, reason), [
      'Upgrade',
      'websocket',
      'Connection',
      'Upgrade',
      ...own,
    ])
    const target = this.#target
    this.#finish()
    target.removeAllListeners('end').removeAllListeners('close').off('data', this.#onData)
    client.once('close', () => resolve({ kind: 'closed' }))
    onOpen(() => {
      target.destroy()
      client.destroy()
    })
    client.cork()
    client.write(text, 'latin1')
    if (early.length > 0) client.write(early)
    client.uncork()
    if (head.length > 0) target.write(head)
    record.bytesIn += head.length
    record.bytesOut += early.length
    const idle = silenceMs === null ? null : transport.limits.of(silenceMs)
    spliceSockets({ client, target, record, idle, closing: transport.limits.of(CLOSING_MS) })
  }

  #startIdle(): void {
    if (this.#settled || this.#answered) return
    const { target, transport } = this.#parts
    transport.limits.of(target.idleMs).start(this.#deadline)
  }

  #conclude(): void {
    this.#answered = true
    this.#deadline.stop()
    this.#relay.passEnd(this.#trailers)
  }

  #onEnded(): void {
    if (this.#settled || this.#answered) return
    try {
      if (this.#connected && this.#parser.finish() === 'ended') this.#conclude()
      else this.#onBroken(undefined)
    } catch (error) {
      this.onUnpassable(error)
    }
  }

  #onBroken(error: Error | undefined): void {
    if (this.#settled || this.#answered) return
    if (this.#connected) this.#fail(faultOf(error, 'reset'))
    else if (error !== undefined || this.#target.destroyed) this.#fail(faultOf(error, 'connect_failed'))
  }

  #fail(error: TransportError): void {
    if (this.#parts.request.socket.destroyed) {
      this.#settle({ kind: 'client-gone' })
      return
    }
    this.#settle({
      kind: 'failed',
      code: upstreamErrorCode(error),
      cause: error,
      unconnected: !this.#connected,
      unprocessed: false,
      answerBegan: this.#answerBegan,
      bodyTouched: false,
      stale: false,
    })
  }

  #settle(outcome: UpgradeOutcome): void {
    if (this.#settled) return
    this.#finish()
    this.#target.destroy()
    this.#parts.resolve(outcome)
  }

  /** Another target may be tried, or the connections are switched over: neither has anything to do with this any more. */
  #finish(): void {
    this.#settled = true
    this.#deadline.stop()
    this.#relay.stop()
    this.#parser.close()
    this.#parts.request.socket.off('close', this.#onClientClose)
    this.#unwatch()
  }
}

/**
 * Nobody reads the client's connection until the target has switched over, so that its end would go unseen. This
 * reads ahead without taking anything: what the client sends early stays where it is.
 *
 * @returns how to stop
 */
function watchForLeaving(socket: Duplex): () => void {
  const onReadable = () => {
    if (socket.readableLength === 0) socket.read()
  }
  const onEnd = () => void socket.destroy()
  socket.on('readable', onReadable)
  socket.once('end', onEnd)
  return () => {
    socket.off('readable', onReadable)
    socket.off('end', onEnd)
  }
}
