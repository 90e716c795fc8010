import type { Socket } from 'node:net'
import { clientHeaders } from '../../http/headers.ts'
import { readReasonPhrase } from '../../http/status-line.ts'
import type { ResponseHead } from '../../http1/heads.ts'
import { type AnswerHandler, AnswerReader } from './answer-reader.ts'
import { AnswerRelay, type AnswerSource } from './answer-relay.ts'
import type { ConnectHandler, Connector, PendingConnection } from './connector.ts'
import { spliceSockets, watchForEnd } from './splice.ts'
import { TimeLimit } from './time-limit.ts'
import type { Transport } from './transport.ts'
import { faultOf, TransportError, upstreamErrorCode } from './transport-errors.ts'
import type { UpgradeOutcome, UpgradeRequest, UpgradeTarget } from './upgrade-attempts.ts'
import { checkSwitch, keyOf } from './websocket-handshake.ts'

export interface UpgradeParts {
  readonly target: UpgradeTarget
  readonly transport: Transport
  readonly connector: Connector
  readonly request: UpgradeRequest
  readonly onOpen: (breakOff: () => void) => void
  /** Called once. */
  readonly onOutcome: (outcome: UpgradeOutcome) => void
}

/** One WebSocket handshake on a connection of its own. */
export class UpgradeAttempt implements AnswerHandler, AnswerSource, ConnectHandler {
  readonly reusesBuffers = false
  readonly #parts: UpgradeParts
  readonly #pending: PendingConnection
  /** Null until it is connected. */
  #target: Socket | null = null
  readonly #reader: AnswerReader
  readonly #relay: AnswerRelay
  readonly #limit: TimeLimit
  readonly #stopWatching: () => void
  readonly #onClientClose = () => this.#conclude({ kind: 'client-gone' })
  readonly #onData = (bytes: Buffer) => this.#read(bytes)
  readonly #onEnd = () => this.#onTargetEnd()
  readonly #onError = (error?: Error) => this.#onTargetBroken(error)
  readonly #onClose = () => this.#onTargetBroken(undefined)
  #switched: ResponseHead | null = null
  #concluded = false

  constructor(parts: UpgradeParts) {
    const { connector, request, target, transport } = parts
    this.#parts = parts
    this.#reader = new AnswerReader(transport.wire, this)
    this.#relay = new AnswerRelay(this, transport.endOfTick)
    this.#limit = new TimeLimit(transport.deadlines, () => this.#onLimit())
    this.#stopWatching = watchForEnd(request.socket)
    this.#reader.begin('GET')
    this.#relay.begin(
      {
        request: { method: 'GET' },
        response: request.response,
        record: request.record,
        // The connection of a handshake carries no other request.
        isLast: () => true,
      },
      request.responseEdits,
    )
    request.socket.once('close', this.#onClientClose)
    this.#pending = connector.connect({ connectMs: target.connectMs, reads: null }, this)
    if (request.socket.destroyed) this.#onClientClose()
  }

  #onLimit(): void {
    this.#fail(new TransportError(this.#reader.headSeen ? 'idle_timeout' : 'response_timeout'))
  }

  onConnected(socket: Socket): void {
    const { request, target, transport } = this.#parts
    this.#target = socket
    socket.on('data', this.#onData)
    socket.on('end', this.#onEnd)
    socket.on('error', this.#onError)
    socket.on('close', this.#onClose)
    const fields = [...request.headers, 'Connection', 'Upgrade', 'Upgrade', 'websocket']
    try {
      socket.write(transport.heads.formatRequest('GET', request.path, fields), 'latin1')
    } catch (error) {
      this.#conclude({ kind: 'unsendable', cause: error })
      return
    }
    this.#limit.start(target.responseMs)
  }

  onFailed(error: TransportError): void {
    this.#fail(error)
  }

  onSwitch(head: ResponseHead): void {
    const key = keyOf(this.#parts.request.headers)
    if (key === null) {
      const cause = new TransportError('invalid', { detail: 'a handshake without one Sec-WebSocket-Key' })
      // Counted against the target, it would let a client have a healthy target ejected.
      this.#conclude({ kind: 'unsendable', cause })
      throw cause
    }
    const problem = checkSwitch(head, key)
    if (problem !== null) throw new TransportError('invalid', { detail: problem })
    this.#switched = head
  }

  onInformation(status: number, fields: readonly string[]): void {
    this.#relay.passInformation(status, fields)
  }

  onAnswer(status: number, reason: string | undefined, fields: readonly string[]): void {
    this.#relay.passHead(status, reason, fields)
  }

  onAnswerBody(bytes: Buffer): void {
    this.#relay.passBody(bytes)
  }

  pauseAnswer(): void {
    this.#limit.stop()
    this.#target!.pause()
  }

  resumeAnswer(): void {
    this.#startIdleLimit()
    this.#target!.resume()
  }

  onPassed(status: number): void {
    this.#conclude({ kind: 'answered', status })
  }

  onUnpassable(error: unknown): void {
    this.#fail(new TransportError('invalid', { cause: error }))
  }

  #read(bytes: Buffer): void {
    const reader = this.#reader
    if (this.#concluded || reader.complete) return
    const fault = reader.read(bytes)
    if (this.#concluded) return
    try {
      if (fault !== null) this.#fail(fault)
      else if (reader.early !== null) this.#open(reader.early)
      else if (reader.complete) this.#passEnd()
      else if (reader.headSeen && !this.#target!.isPaused()) this.#startIdleLimit()
    } catch (error) {
      this.onUnpassable(error)
    }
  }

  /** @param early what the target has sent behind its 101 */
  #open(early: Buffer): void {
    const { request, target: options, transport, onOpen, onOutcome } = this.#parts
    const { socket: client, record, head } = request
    const answer = this.#formatSwitch(this.#switched!)
    const target = this.#target!
    this.#finish()
    client.once('close', () => onOutcome({ kind: 'closed' }))
    onOpen(() => {
      target.destroy()
      client.destroy()
    })
    client.cork()
    client.write(answer, 'latin1')
    if (early.length > 0) client.write(early)
    client.uncork()
    if (head.length > 0) target.write(head)
    record.bytesIn += head.length
    record.bytesOut += early.length
    const { silenceMs } = options
    spliceSockets({ client, target, record, silenceMs, deadlines: transport.deadlines })
  }

  /** @throws HeadError */
  #formatSwitch({ status, reason, fields }: ResponseHead): string {
    const { record, responseEdits } = this.#parts.request
    const own = clientHeaders(fields, record.requestId, responseEdits, false).fields
    const all = ['Upgrade', 'websocket', 'Connection', 'Upgrade', ...own]
    return this.#parts.transport.heads.formatResponse(status, readReasonPhrase(status, reason), all)
  }

  #startIdleLimit(): void {
    if (this.#concluded || this.#reader.complete) return
    this.#limit.start(this.#parts.target.idleMs)
  }

  #passEnd(): void {
    this.#limit.stop()
    this.#relay.passEnd(this.#reader.trailers)
  }

  #onTargetEnd(): void {
    if (this.#concluded || this.#reader.complete) return
    if (!this.#reader.finish()) {
      this.#onTargetBroken(undefined)
      return
    }
    try {
      this.#passEnd()
    } catch (error) {
      this.onUnpassable(error)
    }
  }

  #onTargetBroken(error: Error | undefined): void {
    if (this.#concluded || this.#reader.complete) return
    this.#fail(faultOf(error, 'reset'))
  }

  #fail(error: TransportError): void {
    if (this.#parts.request.socket.destroyed) {
      this.#conclude({ kind: 'client-gone' })
      return
    }
    this.#conclude({
      kind: 'failed',
      code: upstreamErrorCode(error),
      cause: error,
      unconnected: this.#target === null,
      unprocessed: false,
      answerBegan: this.#reader.begun,
      bodyTouched: false,
      bodyKept: false,
      stale: false,
    })
  }

  #conclude(outcome: UpgradeOutcome): void {
    if (this.#concluded) return
    this.#finish()
    this.#pending.close()
    this.#target?.on('error', () => {}).destroy()
    this.#parts.onOutcome(outcome)
  }

  /** Leaves both sockets to what follows: another attempt, or the open WebSocket. */
  #finish(): void {
    this.#concluded = true
    this.#limit.close()
    this.#relay.stop()
    this.#reader.close()
    this.#stopWatching()
    this.#parts.request.socket.off('close', this.#onClientClose)
    this.#target?.off('data', this.#onData)
    this.#target?.off('end', this.#onEnd)
    this.#target?.off('error', this.#onError)
    this.#target?.off('close', this.#onClose)
  }
}
