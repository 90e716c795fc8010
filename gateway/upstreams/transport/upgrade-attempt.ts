import { type ClientRequest, Agent as HttpAgent, IncomingMessage } from 'node:http'
import { Agent as HttpsAgent } from 'node:https'
import type { LookupFunction, Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { ProxyServer } from 'http-proxy-3'
import { groupFields } from '../../http/field-groups.ts'
import { clientHeaders, type HeaderEdits } from '../../http/headers.ts'
import { readReasonPhrase } from '../../http/status-line.ts'
import type { AttemptFailure } from './attempt-outcome.ts'
import type { AttemptRecord, ClientResponse } from './client-side.ts'
import { parseTargetAddress, serverNameOf, type TlsOptions, tlsFiles } from './dispatcher.ts'
import { isConnectError, upstreamErrorCode } from './transport-errors.ts'

/** The WebSocket handshake of one client, checked and authenticated already. */
export interface UpgradeRequest {
  /** Answers the client as long as the connection was not switched over. */
  readonly response: ClientResponse
  /** Gets the bytes that crossed after the switch, once it is over; of another answer those of its body. */
  readonly record: Omit<AttemptRecord, 'eventStream'>
  readonly socket: Duplex
  /**
   * Bytes that came behind the handshake; they reach the target only after it switched over. Empty at a further
   * attempt: the first one has put them back into `socket`.
   */
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
  readonly tls: TlsOptions | null
  /** How names become addresses. */
  readonly lookup: LookupFunction
}

export interface UpgradeAttempts {
  /** @param onOpen called when the connection is switched over, with the means to break it */
  forward(request: UpgradeRequest, onOpen: (breakOff: () => void) => void): Promise<UpgradeOutcome>
  close(): void
}

/** Forwards WebSocket handshakes to one target by http-proxy-3, which also pipes between the two sockets. */
export function createUpgradeAttempts(target: UpgradeTarget): UpgradeAttempts {
  const { origin, socketPath } = parseTargetAddress(target.url)
  const secure = origin.startsWith('https:')
  const { lookup } = target
  const agent = secure
    ? new HttpsAgent({
        ...tlsFiles(target.tls),
        servername: serverNameOf(target.url, target.tls),
        rejectUnauthorized: true,
        lookup,
      })
    : new HttpAgent({ lookup })
  const url = new URL(origin)
  const proxy = new ProxyServer({
    target: {
      protocol: url.protocol,
      host: url.host,
      hostname: url.hostname,
      port: url.port === '' ? undefined : url.port,
      ...(socketPath === null ? {} : { socketPath }),
    } as never,
    agent,
    prependPath: false,
    // An untrusted certificate is a failure; no setting switches that off.
    secure: true,
    connectTimeout: target.connectMs,
  })
  // Faults come through the callback of each call; this one only keeps stray socket errors from being fatal.
  proxy.on('error', () => {})
  return {
    forward: (request, onOpen) => forward({ proxy, target, request, onOpen }),
    close: () => agent.destroy(),
  }
}

interface Forward {
  readonly proxy: ProxyServer
  readonly target: UpgradeTarget
  readonly request: UpgradeRequest
  readonly onOpen: (breakOff: () => void) => void
}

function forward({ proxy, target, request, onOpen }: Forward): Promise<UpgradeOutcome> {
  const { socket, head } = request
  return new Promise((resolve) => {
    let opened = false
    let outgoing: ClientRequest | null = null
    const clean = handshakeFor(request)

    const onStart = (proxyReq: ClientRequest, started: IncomingMessage) => {
      if (started !== clean) return
      outgoing = proxyReq
      // The path was joined and decomposed on its way here; the matched bytes are the forwarded ones.
      proxyReq.path = request.path
    }
    proxy.on('proxyReqWs', onStart)
    proxy.ws(clean, socket as never, head, {}, () => {})
    proxy.off('proxyReqWs', onStart)

    const started = outgoing as ClientRequest | null
    if (started === null) return resolve(failure(new Error('no request was made'), socket, false))
    started.setTimeout(target.responseMs, () => {
      started.destroy(
        Object.assign(new Error('no answer to the handshake in time'), { code: 'UPGRADE_TIMEOUT' }),
      )
    })
    const unwatch = watchForLeaving(socket)
    started.prependListener('upgrade', (answer, upstreamSocket, early) => {
      opened = true
      unwatch()
      countFrames(upstreamSocket, early, request)
      upstreamSocket.setTimeout(0)
      answer.headers = groupFields(switchedFields(answer.rawHeaders, request))
      upstreamSocket.once('error', () => socket.destroy())
      // A WebSocket has no half-closed state (RFC 6455, section 7.1.1): a side that has sent its last byte has left.
      socket.once('end', () => upstreamSocket.destroySoon())
      upstreamSocket.once('end', () => (socket as Socket).destroySoon())
      onOpen(() => {
        upstreamSocket.destroy()
        socket.destroy()
      })
    })
    // Before the switch http-proxy-3 would close the client's connection on an error and re-join the fields of
    // an answer. The gateway handles both itself, as for any other request.
    started.removeAllListeners('error')
    started.on('error', (error) => {
      if (opened) return
      // Another target may be attempted: it gets the connection as this one found it.
      unwatch()
      resolve(failure(error, socket, (started.socket?.bytesRead ?? 0) > 0))
    })
    started.removeAllListeners('response')
    started.on('response', (answer) => passOn(answer, request, resolve))
    socket.once('close', () => {
      started.destroy()
      resolve(opened ? { kind: 'closed' } : { kind: 'client-gone' })
    })
  })
}

/** http-proxy-3 reads the request's head from here: what the client sent has no other way upstream. */
function handshakeFor({ socket, path, headers }: UpgradeRequest): IncomingMessage {
  return Object.assign(new IncomingMessage(socket as Socket), {
    method: 'GET',
    url: path,
    httpVersion: '1.1',
    httpVersionMajor: 1,
    httpVersionMinor: 1,
    headers: { ...groupFields(headers), connection: 'Upgrade', upgrade: 'websocket' },
  })
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

/** What went to and came from the target since the switch, of which `early` was read with its head. */
function countFrames(target: Socket, early: Buffer, { socket, record }: UpgradeRequest): void {
  const before = { in: target.bytesWritten, out: target.bytesRead - early.length }
  // Before all other listeners, which read these counts when the client's connection closes.
  socket.prependOnceListener('close', () => {
    record.bytesIn = target.bytesWritten - before.in
    record.bytesOut = target.bytesRead - before.out
  })
}

function failure(error: unknown, socket: Duplex, answerBegan: boolean): UpgradeOutcome {
  if (socket.destroyed) return { kind: 'client-gone' }
  return {
    kind: 'failed',
    code: upstreamErrorCode(error),
    cause: error,
    unconnected: isConnectError(error),
    answerBegan,
    bodyTouched: false,
    stale: false,
  }
}

function passOn(
  answer: IncomingMessage,
  request: UpgradeRequest,
  resolve: (outcome: UpgradeOutcome) => void,
): void {
  const { response, record } = request
  const status = answer.statusCode ?? 502
  try {
    response.writeHead(
      status,
      readReasonPhrase(status, answer.statusMessage),
      clientHeaders(answer.rawHeaders, record.requestId, request.responseEdits, false).fields,
    )
  } catch (error) {
    resolve(failure(error, request.socket, true))
    answer.destroy()
    return
  }
  answer.on('data', (chunk: Buffer) => {
    record.bytesOut += chunk.length
    if (response.write(chunk)) return
    answer.pause()
    response.onDrain(() => answer.resume())
  })
  answer.once('end', () => response.end())
  answer.once('error', () => response.abort())
  answer.once('close', () => {
    if (!answer.complete) response.abort()
    resolve({ kind: 'answered', status })
  })
}

/** The fields of a 101 for the client: its two hop-by-hop fields are what the answer is about. */
function switchedFields(raw: readonly string[], request: UpgradeRequest): string[] {
  const { fields } = clientHeaders(raw, request.record.requestId, request.responseEdits, false)
  return ['Upgrade', 'websocket', 'Connection', 'Upgrade', ...fields]
}
