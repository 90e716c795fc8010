import { once } from 'node:events'
import { createServer, type IncomingHttpHeaders, type RequestListener } from 'node:http'
import { createServer as createHttps, type ServerOptions } from 'node:https'
import type { AddressInfo } from 'node:net'

/** A span as a collector gets it by OTLP, in JSON or decoded. */
export interface CollectedSpan {
  readonly traceId: string
  readonly spanId: string
  /** Empty for a root. */
  readonly parentSpanId: string
  readonly name: string
  /** 1 internal, 2 server, 3 client. */
  readonly kind: number
  readonly attributes: Readonly<Record<string, unknown>>
  /** 2 is an error. */
  readonly status: number
  readonly resource: Readonly<Record<string, unknown>>
}

export interface OtlpCollector {
  readonly url: string
  /** Every export that came, whatever it was answered with. */
  readonly exports: readonly {
    readonly path: string
    readonly headers: IncomingHttpHeaders
    readonly spans: CollectedSpan[]
  }[]
  readonly spans: readonly CollectedSpan[]
  /** The first span, past or future, that the test accepts. */
  span(accepts: (span: CollectedSpan) => boolean): Promise<CollectedSpan>
  /** How it answers from now on: takes, refuses, or says nothing at all. */
  behave(how: 'take' | 'refuse' | 'hang'): void
  close(): Promise<void>
}

/**
 * A collector of OTLP over HTTP, protobuf and JSON.
 *
 * @param tls for one that speaks HTTPS
 */
export async function startOtlpCollector(port = 0, tls: ServerOptions | null = null): Promise<OtlpCollector> {
  const exports: { path: string; headers: IncomingHttpHeaders; spans: CollectedSpan[] }[] = []
  const spans: CollectedSpan[] = []
  const waiting = new Set<() => void>()
  let how = 'take'
  const onRequest: RequestListener = async (req, res) => {
    const parts: Buffer[] = []
    for await (const part of req) parts.push(part)
    const body = Buffer.concat(parts)
    const json = req.headers['content-type'] === 'application/json'
    const came = json ? spansOfJson(JSON.parse(body.toString())) : spansOfProtobuf(body)
    exports.push({ path: req.url ?? '', headers: req.headers, spans: came })
    spans.push(...came)
    for (const tell of waiting) tell()
    if (how === 'hang') return
    res.writeHead(how === 'take' ? 200 : 400, { 'Content-Type': req.headers['content-type'] })
    res.end(json ? '{}' : '')
  }
  const server = tls === null ? createServer(onRequest) : createHttps(tls, onRequest)
  server.listen(port, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `${tls === null ? 'http' : 'https'}://127.0.0.1:${(server.address() as AddressInfo).port}`,
    exports,
    spans,
    span(accepts) {
      const past = spans.find(accepts)
      if (past !== undefined) return Promise.resolve(past)
      return new Promise((resolve) => {
        const tell = () => {
          const found = spans.find(accepts)
          if (found === undefined) return
          waiting.delete(tell)
          resolve(found)
        }
        waiting.add(tell)
      })
    },
    behave(next) {
      how = next
    },
    async close() {
      server.close()
      server.closeAllConnections()
      await once(server, 'close')
    },
  }
}

interface JsonAttribute {
  readonly key: string
  readonly value: Readonly<Record<string, unknown>>
}

interface JsonSpan {
  readonly traceId: string
  readonly spanId: string
  readonly parentSpanId?: string
  readonly name: string
  readonly kind: number
  readonly attributes: readonly JsonAttribute[]
  readonly status?: { readonly code?: number }
}

interface JsonRequest {
  readonly resourceSpans: readonly {
    readonly resource: { readonly attributes: readonly JsonAttribute[] }
    readonly scopeSpans: readonly { readonly spans: readonly JsonSpan[] }[]
  }[]
}

function spansOfJson({ resourceSpans }: JsonRequest): CollectedSpan[] {
  return resourceSpans.flatMap(({ resource, scopeSpans }) =>
    scopeSpans.flatMap(({ spans }) =>
      spans.map((span) => ({
        ...span,
        parentSpanId: span.parentSpanId ?? '',
        attributes: record(span.attributes),
        status: span.status?.code ?? 0,
        resource: record(resource.attributes),
      })),
    ),
  )
}

function record(attributes: readonly JsonAttribute[]): Record<string, unknown> {
  return Object.fromEntries(attributes.map(({ key, value }) => [key, Object.values(value)[0]]))
}

/** The fields of trace/v1/trace.proto that the tests look at. */
function spansOfProtobuf(body: Buffer): CollectedSpan[] {
  return bytesOf(body, 1).flatMap((resourceSpans) => {
    const resource = attributesOf(bytesOf(resourceSpans, 1)[0] ?? Buffer.alloc(0), 1)
    return bytesOf(resourceSpans, 2)
      .flatMap((scopeSpans) => bytesOf(scopeSpans, 2))
      .map((span) => ({
        traceId: bytesOf(span, 1)[0]?.toString('hex') ?? '',
        spanId: bytesOf(span, 2)[0]?.toString('hex') ?? '',
        parentSpanId: bytesOf(span, 4)[0]?.toString('hex') ?? '',
        name: bytesOf(span, 5)[0]?.toString() ?? '',
        kind: Number(fieldsOf(span).find(({ field }) => field === 6)?.value ?? 0),
        attributes: attributesOf(span, 9),
        status: Number(
          fieldsOf(bytesOf(span, 15)[0] ?? Buffer.alloc(0)).find(({ field }) => field === 3)?.value ?? 0,
        ),
        resource,
      }))
  })
}

function attributesOf(message: Buffer, field: number): Record<string, unknown> {
  return Object.fromEntries(
    bytesOf(message, field).map((attribute) => {
      const [value] = fieldsOf(bytesOf(attribute, 2)[0] ?? Buffer.alloc(0))
      const plain = value?.value
      return [
        bytesOf(attribute, 1)[0]?.toString() ?? '',
        Buffer.isBuffer(plain) ? plain.toString() : Number(plain),
      ]
    }),
  )
}

function bytesOf(message: Buffer, wanted: number): Buffer[] {
  return fieldsOf(message).flatMap(({ field, value }) =>
    field === wanted && Buffer.isBuffer(value) ? [value] : [],
  )
}

/** The fields of one message of protocol buffers' wire format. */
function fieldsOf(message: Buffer): { readonly field: number; readonly value: Buffer | bigint }[] {
  const fields: { field: number; value: Buffer | bigint }[] = []
  let at = 0
  const varint = () => {
    let value = 0n
    for (let shift = 0n; ; shift += 7n) {
      const byte = message.readUInt8(at++)
      value |= BigInt(byte & 0x7f) << shift
      if (byte < 0x80) return value
    }
  }
  const take = (bytes: number) => {
    at += bytes
    return message.subarray(at - bytes, at)
  }
  while (at < message.length) {
    const key = Number(varint())
    const type = key & 7
    const value = type === 0 ? varint() : take(type === 1 ? 8 : type === 5 ? 4 : Number(varint()))
    fields.push({ field: key >> 3, value })
  }
  return fields
}
