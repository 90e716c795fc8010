import type { Engine } from './engine.ts'
import { FieldNames } from './field-names.ts'
import { LengthFields } from './framing.ts'
import {
  createRequestReader,
  createResponseReader,
  type RequestHead,
  type ResponseHead,
  readFields,
} from './heads.ts'
import { REQUEST, RESPONSE } from './llhttp.ts'
import { MessageParser } from './message-parser.ts'
import type { MessageHandler, MessageKind, ParserLimits } from './messages.ts'

/** Makes the parsers of a process. They share llhttp's memory, and cost little while nothing comes. */
export interface Wire {
  /** A parser of what a client sends. Trailers are read and dropped. */
  createRequestParser(handler: MessageHandler<RequestHead>, limits: ParserLimits): MessageParser<RequestHead>
  /** A parser of what a target sends. */
  createResponseParser(
    handler: MessageHandler<ResponseHead>,
    limits: ParserLimits,
  ): MessageParser<ResponseHead>
}

/** @param engine one for all parsers that run in turn */
export function createParsers(engine: Engine): Wire {
  const names = new FieldNames()
  const reading = { spans: engine.spans, names, lengths: new LengthFields() }
  const readTrailers = (text: string) => readFields(Buffer.from(text, 'latin1'), text, 0, reading)
  const requests: MessageKind<RequestHead> = {
    type: REQUEST,
    readHead: createRequestReader(engine, names),
    readTrailers,
    keepsTrailers: false,
  }
  const responses: MessageKind<ResponseHead> = {
    type: RESPONSE,
    readHead: createResponseReader(engine, names),
    readTrailers,
    keepsTrailers: true,
  }
  return {
    createRequestParser: (handler, limits) => new MessageParser(engine, requests, handler, limits),
    createResponseParser: (handler, limits) => new MessageParser(engine, responses, handler, limits),
  }
}
