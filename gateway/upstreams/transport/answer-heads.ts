import { FieldGroup } from '../../http/field-group.ts'
import { answerHead, type HeaderEdits, withoutLength } from '../../http/headers.ts'

/** The head of an answer as clients get it, but for the id of their request. */
export interface AnswerHead {
  readonly fields: FieldGroup
  /** `Content-Length`, or -1 where there is none. */
  readonly length: number
  /** True for server-sent events. */
  readonly eventStream: boolean
  /** The route decides on `X-Request-Id` itself. */
  readonly decidesId: boolean
}

const NO_FIELDS: readonly string[] = []

/** Makes the heads of the answers on one connection. One that comes again is not made again. */
export class AnswerHeads {
  #raw: readonly string[] = NO_FIELDS
  #edits: HeaderEdits | null = null
  #chunkable = false
  #head: AnswerHead | null = null

  /**
   * @param raw flat name, value pairs; the parser hands out the same array where a head, its status with it, has come
   *   again
   * @param chunkable true where an answer without a length reaches the client in chunks
   */
  read(status: number, raw: readonly string[], edits: HeaderEdits | null, chunkable: boolean): AnswerHead {
    const isSame = raw === this.#raw && edits === this.#edits && chunkable === this.#chunkable
    if (isSame && this.#head !== null) return this.#head
    const head = makeHead(status, raw, edits, chunkable)
    this.#raw = raw
    this.#edits = edits
    this.#chunkable = chunkable
    this.#head = head
    return head
  }
}

/** The fields behind those of the head. */
export function ownFields({ decidesId }: AnswerHead, requestId: string): readonly string[] {
  return decidesId ? NO_FIELDS : ['X-Request-Id', requestId]
}

function makeHead(
  status: number,
  raw: readonly string[],
  edits: HeaderEdits | null,
  chunkable: boolean,
): AnswerHead {
  const empty = status === 204 || status === 304
  const own = empty ? withoutLength(raw) : raw
  const { fields, length, eventStream } = answerHead(own, edits, chunkable && !empty)
  if (status === 426) keepUpgrade(raw, fields)
  const decidesId = edits?.dropped.has('x-request-id') ?? false
  return { fields: new FieldGroup(fields), length, eventStream, decidesId }
}

/** A 426 names in `Upgrade` the protocol that the client has to use (RFC 9110, section 15.5.22). */
function keepUpgrade(from: readonly string[], to: string[]): void {
  for (let i = 0; i < from.length; i += 2)
    if (from[i]!.toLowerCase() === 'upgrade') to.push('Upgrade', from[i + 1]!)
}
