import { ServerResponse, STATUS_CODES } from 'node:http'
import type { ErrorCode } from '../../core/errors.ts'
import type { InboundResponse, ResponseOwner } from '../../exchange/inbound.ts'
import type { Http1Request } from './http1-request.ts'

/** A refused upload is read on for this long and this far, so that the client gets to see the response. */
const LINGER_MS = 2000
const LINGER_BYTES = 1024 * 1024

/** A response of HTTP/1.1 or HTTP/1.0, written by node:http, which makes its instances in place of `ServerResponse`. */
export class Http1Response extends ServerResponse<Http1Request> implements InboundResponse {
  /** Null until the request is handed over. */
  owner: ResponseOwner | null = null
  /** True while the client waits for `100 Continue` before it sends its body (RFC 9110, section 10.1.1). */
  awaitsContinue = false
  #endLingering: (() => void) | null = null

  get carriesTrailers(): boolean {
    return this.req.httpVersion !== '1.0'
  }

  setOwner(owner: ResponseOwner): void {
    this.owner = owner
    this.once('close', onClose)
  }

  /** @returns false where there is no owner, or where it has begun to respond already */
  refuseUnreadable(code: ErrorCode): boolean {
    return this.owner?.onUnreadable(code) ?? false
  }

  endConnection(): void {
    this.shouldKeepAlive = false
  }

  sendContinue(): void {
    if (!this.awaitsContinue) return
    this.awaitsContinue = false
    this.writeContinue()
  }

  inform(status: number, fields: string[]): void {
    // HTTP/1.0 has no interim responses (RFC 9110, section 15.2).
    if (this.req.httpVersion !== '1.0') this.writeInformation(status, fields)
  }

  onDrain(onDrained: () => void): void {
    this.once('drain', onDrained)
  }

  sendWhole(status: number, fields: string[], body: Buffer | null): void {
    const { req } = this
    const unread = req.hasBody && !req.complete
    // After an unread body the next request could not be told from the rest of it.
    if (unread) this.shouldKeepAlive = false
    this.writeHead(status, STATUS_CODES[status], fields)
    if (!unread || this.awaitsContinue) {
      this.end(body)
      return
    }
    if (body !== null) this.write(body)
    this.#lingerThenEnd()
  }

  /**
   * Without a length or chunks only a reset tells a cut response from a whole one (RFC 9112, section 8), so HTTP/1.0
   * gets one.
   */
  abort(): void {
    if (this.headersSent && this.req.httpVersion === '1.0') this.req.socket.resetAndDestroy()
    else this.destroy()
  }

  /** Ends a response that only waits for the rest of its request. @returns false where it is not such a response */
  endLingering(): boolean {
    const end = this.#endLingering
    end?.()
    return end !== null
  }

  /**
   * Closing at once with the client's bytes unread resets the connection, and the reset can overtake the response
   * (RFC 9112, section 9.6). So the body is read on, within bounds, and thrown away.
   */
  #lingerThenEnd(): void {
    const { req } = this
    let left = LINGER_BYTES
    const end = () => {
      clearTimeout(timer)
      req.off('data', onData)
      this.end()
    }
    const onData = (chunk: Buffer) => {
      left -= chunk.length
      if (left < 0) end()
    }
    const timer = setTimeout(end, LINGER_MS)
    timer.unref()
    this.#endLingering = end
    req.on('data', onData)
    req.once('end', end)
    req.once('close', end)
    req.resume()
  }
}

function onClose(this: Http1Response): void {
  this.owner?.onClose()
}
