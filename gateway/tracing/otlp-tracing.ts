import { readFileSync } from 'node:fs'
import { Agent as HttpAgent } from 'node:http'
import { Agent as HttpsAgent } from 'node:https'
import type { LookupFunction } from 'node:net'
import { type Context, ROOT_CONTEXT, SpanKind, trace } from '@opentelemetry/api'
import { OTLPTraceExporter as JsonExporter } from '@opentelemetry/exporter-trace-otlp-http'
import { OTLPTraceExporter as ProtobufExporter } from '@opentelemetry/exporter-trace-otlp-proto'
import { detectResources, envDetector, resourceFromAttributes } from '@opentelemetry/resources'
import {
  AlwaysOffSampler,
  AlwaysOnSampler,
  BatchSpanProcessor,
  ParentBasedSampler,
  type Sampler,
  type SpanExporter,
  type SpanProcessor,
  TraceIdRatioBasedSampler,
  TracerProvider,
} from '@opentelemetry/sdk-trace'
import type { Log } from '../core/log.ts'
import type { Tracing } from '../exchange/tracing.ts'
import { isSampled, type TraceIds, traceIdOf } from '../http/traceparent.ts'
import type { Cell } from '../telemetry/metrics/series.ts'
import type { TracingSettings } from '../telemetry/tracing-settings.ts'
import { createExchangeSpan } from './exchange-span.ts'

export interface OtlpTracingParts {
  readonly settings: TracingSettings
  readonly version: string
  readonly ids: Pick<TraceIds, 'spanId'>
  /** Counts spans by whether they were exported. */
  readonly counts: SpanCounts
  /** How the collector's name becomes addresses. */
  readonly lookup: LookupFunction
  readonly log: Log
  /** Milliseconds, monotonic. */
  readonly now: () => number
}

export interface SpanCounts {
  readonly exported: Cell
  /** The collector did not accept them. */
  readonly failed: Cell
  /** Too many were waiting for the collector. */
  readonly dropped: Cell
}

/** What a client sends must not make spans large: its header fields may have kilobytes each. */
const MAX_ATTRIBUTE_CHARACTERS = 2048

/** Milliseconds for which the end of the process waits for the collector. */
const CLOSE_MS = 2000

/**
 * Spans by OTLP over HTTP, by the official packages. These read the collector's address, header fields, time limit,
 * and compression from the environment by themselves, and so are the resource's attributes.
 */
export function createOtlpTracing(parts: OtlpTracingParts): Tracing {
  const { settings, ids, now } = parts
  let begun = ''
  const provider = new TracerProvider({
    resource: resourceFromAttributes({
      'service.name': settings.serviceName,
      'service.version': parts.version,
      'process.pid': process.pid,
    }).merge(detectResources({ detectors: [envDetector] })),
    sampler: samplerOf(settings),
    spanLimits: { attributeValueLengthLimit: MAX_ATTRIBUTE_CHARACTERS },
    // The trace's id is in the access line, of a request that is not sampled too: it is made before.
    idGenerator: { generateTraceId: () => begun, generateSpanId: ids.spanId },
    spanProcessors: [boundedProcessor(exporterOf(parts), parts)],
  })
  const tracer = provider.getTracer('poweron-gateway', parts.version)

  return {
    begin(record) {
      const { traceparent } = record.trace
      begun = traceIdOf(traceparent)
      const span = tracer.startSpan(
        record.head.method,
        { kind: SpanKind.SERVER, startTime: record.startedAt },
        record.trace.isNew ? ROOT_CONTEXT : remoteParent(traceparent),
      )
      return span.isRecording() ? createExchangeSpan({ record, tracer, span, now }) : null
    },
    async close() {
      let timer: NodeJS.Timeout | undefined
      const late = new Promise<void>((resolve) => {
        timer = setTimeout(resolve, CLOSE_MS)
      })
      await Promise.race([provider.shutdown().catch(() => {}), late])
      clearTimeout(timer)
    },
  }
}

function remoteParent(traceparent: string): Context {
  return trace.setSpanContext(ROOT_CONTEXT, {
    traceId: traceIdOf(traceparent),
    spanId: traceparent.slice(36, 52),
    traceFlags: isSampled(traceparent) ? 1 : 0,
    isRemote: true,
  })
}

function samplerOf({ sampler, samplerRatio }: TracingSettings): Sampler {
  const root = sampler.endsWith('always_on')
    ? new AlwaysOnSampler()
    : sampler.endsWith('always_off')
      ? new AlwaysOffSampler()
      : new TraceIdRatioBasedSampler(samplerRatio)
  return sampler.startsWith('parentbased_') ? new ParentBasedSampler({ root }) : root
}

function exporterOf({ settings, lookup }: OtlpTracingParts): SpanExporter {
  const options = { httpAgentOptions: (protocol: string) => agentOf(protocol, settings, lookup) }
  return settings.protocol === 'http/json' ? new JsonExporter(options) : new ProtobufExporter(options)
}

/** The exporters' own agents use getaddrinfo, which holds threads while no name server answers. */
function agentOf(protocol: string, { certificateFiles }: TracingSettings, lookup: LookupFunction) {
  if (protocol === 'http:') return new HttpAgent({ keepAlive: true, lookup })
  const files = Object.entries(certificateFiles).filter(([, path]) => path !== null)
  const pem = Object.fromEntries(files.map(([option, path]) => [option, readFileSync(path!)]))
  return new HttpsAgent({ keepAlive: true, lookup, ...pem })
}

/** Batches by the official processor, which drops past its bound without telling: this one counts. */
function boundedProcessor(
  exporter: SpanExporter,
  { settings, counts, log }: OtlpTracingParts,
): SpanProcessor {
  const { maxQueueSize } = settings.batches
  let waiting = 0
  let failing = false
  const batches = new BatchSpanProcessor({
    ...settings.batches,
    exporter: {
      export(spans, done) {
        exporter.export(spans, (result) => {
          waiting -= spans.length
          const { error } = result
          if (error === undefined) counts.exported.value += spans.length
          else counts.failed.value += spans.length
          // Told when it changes: a collector that is down must not fill the log.
          if (error !== undefined && !failing) log.warn({ err: error }, 'traces cannot be exported')
          if (error === undefined && failing) log.info({}, 'traces are exported again')
          failing = error !== undefined
          done(result)
        })
      },
      shutdown: () => exporter.shutdown(),
    },
  })
  return {
    onStart() {},
    onEnd(span) {
      if (waiting >= maxQueueSize) {
        counts.dropped.value++
        return
      }
      waiting++
      batches.onEnd(span)
    },
    forceFlush: () => batches.forceFlush(),
    shutdown: () => batches.shutdown(),
  }
}
