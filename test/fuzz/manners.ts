import type { InboundRequest, InboundResponse } from '../../gateway/exchange/inbound.ts'
import type { Arrival } from '../../gateway/pipeline/gateway.ts'

/**
 * What is done with an exchange in the gateway's place:
 *
 * - `early`: it is answered without a look at the body
 * - `ahead`: the same, but the connection goes on behind the body
 * - `echo`: it is answered behind its body
 * - `late`: the same, some turns later
 * - `slow`: the answer begins before the body, whose pieces are taken one a turn and sent back
 * - `cut`: the answer breaks off
 * - `never`: it is not answered
 */
export const MANNERS = ['early', 'ahead', 'echo', 'late', 'slow', 'cut', 'never'] as const

export type Manner = (typeof MANNERS)[number]

/** An exchange as it was handed to the gateway's place. */
export interface Seen {
  readonly nth: number
  readonly request: InboundRequest
  readonly response: InboundResponse
  readonly arrival: Arrival
  readonly manner: Manner
  /** What was read of the body. */
  body: string
  bodyEnd: 'none' | 'end' | 'broken'
  /** How often the end of the response was told. */
  closed: number
  /** What was given as the whole answer; null where none was. */
  sent: { readonly status: number; readonly body: string } | null
  /** Bytes of the protocol that it switched to. */
  tunnelled: string | null
  /** Called whenever something happens. */
  readonly onChange: () => void
}

export function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

async function turns(count: number): Promise<void> {
  for (let n = 0; n < count; n++) await turn()
}

/** The rest of the request could not be read. @returns whether it was answered so */
export function refuse(seen: Seen, status: number): boolean {
  if (seen.response.headersSent || seen.response.destroyed) return false
  sendWhole(seen, status, 'refused')
  return true
}

export function act(seen: Seen): void {
  const { arrival, manner, nth } = seen
  if (arrival.upgrade !== undefined) switchOver(seen, arrival.upgrade)
  else if (arrival.refusal !== undefined) refuse(seen, 400)
  else if (manner === 'early') sendWhole(seen, 200, `${nth} early`)
  else if (manner === 'ahead') sendEcho(seen)
  else if (manner === 'echo') readBody(seen, () => sendEcho(seen))
  else if (manner === 'late') readBody(seen, () => void turns(3).then(() => sendEcho(seen)))
  else if (manner === 'slow') echoSlowly(seen)
  else if (manner === 'cut') readBody(seen, () => void cutOff(seen))
}

export function echoOf({ nth, request, body }: Seen): string {
  return `${nth} ${request.method} ${request.target} ${body}`
}

function sendWhole(seen: Seen, status: number, body: string): void {
  const { response } = seen
  if (response.headersSent || response.destroyed) return
  seen.sent = { status, body }
  response.sendWhole(status, ['Content-Length', String(body.length)], Buffer.from(body, 'latin1'))
}

function sendEcho(seen: Seen): void {
  const { response, nth } = seen
  if (response.headersSent || response.destroyed) return
  const body = echoOf(seen)
  seen.sent = { status: 200, body }
  seen.onChange()
  // By turns with a length and without one.
  response.writeHead(200, undefined, nth % 2 === 0 ? [] : ['Content-Length', String(body.length)])
  response.end(body, 'latin1')
}

function readBody(seen: Seen, onEnd: () => void, onPiece: () => void = () => {}): void {
  const { request, response } = seen
  if (!request.hasBody) {
    seen.bodyEnd = 'end'
    onEnd()
    return
  }
  response.sendContinue()
  request.readBody({
    onChunk(chunk) {
      seen.body += chunk.toString('latin1')
      seen.onChange()
      onPiece()
    },
    onEnd() {
      seen.bodyEnd = 'end'
      onEnd()
    },
    onBrokenOff() {
      seen.bodyEnd = 'broken'
    },
  })
  request.resume()
}

function echoSlowly(seen: Seen): void {
  const { request, response, nth } = seen
  let passed = 0
  const start = `${nth} ${request.method} ${request.target} `
  // Only then is a body sent that was held back until `100 Continue`; behind the answer's head that would be too late.
  response.sendContinue()
  response.writeHead(200, undefined, [])
  response.write(Buffer.from(start, 'latin1'))
  readBody(
    seen,
    () => {
      if (response.destroyed) return
      seen.sent = { status: 200, body: echoOf(seen) }
      response.addTrailers([['X-Nth', String(nth)]])
      response.end()
    },
    () => {
      response.write(Buffer.from(seen.body.slice(passed), 'latin1'))
      passed = seen.body.length
      request.pause()
      setImmediate(() => request.resume())
    },
  )
}

async function cutOff({ response }: Seen): Promise<void> {
  if (response.headersSent || response.destroyed) return
  response.writeHead(200, undefined, [])
  response.write(Buffer.from('cut'))
  await turn()
  response.abort()
}

/** By turns it is refused, and switched over and closed some turns later. */
function switchOver(seen: Seen, { socket, head }: NonNullable<Arrival['upgrade']>): void {
  if (seen.nth % 2 === 1) {
    refuse(seen, 403)
    return
  }
  seen.tunnelled = head.toString('latin1')
  socket.write('HTTP/1.1 101 Switching Protocols\r\n\r\n')
  socket.on('data', (chunk: Buffer) => {
    seen.tunnelled += chunk.toString('latin1')
    seen.onChange()
  })
  void turns(20).then(() => socket.destroy())
}
