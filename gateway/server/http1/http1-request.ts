import { IncomingMessage } from 'node:http'
import type { BodyReader, InboundRequest } from '../../exchange/inbound.ts'
import { announcesBody, framingProblemOf } from '../../http/request-framing.ts'
import { discardBodyOf, readBodyOf } from '../readable-body.ts'

/**
 * A request of HTTP/1.1 or HTTP/1.0, read by node:http. All that is added are methods: Node makes its instances in
 * place of `IncomingMessage`, so that nothing stands between the two.
 */
export class Http1Request extends IncomingMessage implements InboundRequest {
  declare readonly method: string
  declare readonly url: string

  get target(): string {
    return this.url
  }

  get hasBody(): boolean {
    return announcesBody(this)
  }

  get framingProblem(): string | null {
    return framingProblemOf(this)
  }

  get bodyRead(): boolean {
    return this.readableEnded
  }

  get brokenOff(): boolean {
    return this.errored !== null
  }

  readBody(reader: BodyReader): () => void {
    return readBodyOf(this, reader)
  }

  discardBody(): void {
    discardBodyOf(this)
  }
}
