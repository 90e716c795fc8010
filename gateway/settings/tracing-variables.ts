import { SAMPLERS, type TracingSettings } from '../telemetry/tracing-settings.ts'
import * as parse from './parsers.ts'
import { count, group, milliseconds, optional, type ValueOf, variable } from './variable.ts'

const PROTOCOLS = ['http/protobuf', 'http/json'] as const
const listChoices = (values: readonly string[]) =>
  `one of ${values.map((value) => `\`${value}\``).join(', ')}`

const collector = {
  parse: parse.httpUrl,
  accepts: 'an `http:` or `https:` URL without user and password',
  secret: true,
}

function pemFile(name: string, description: string) {
  return optional({
    name,
    parse: parse.text,
    accepts: 'the name of a readable file',
    file: 'path',
    example: '/etc/poweron-gateway/collector.pem',
    description,
  })
}

/** The names and values are those of the OpenTelemetry specification. */
export const traces = group(
  'Traces',
  'Spans by OTLP over HTTP, in the terms of the OpenTelemetry specification; its packages are loaded only if a collector is set. `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_EXPORTER_OTLP_HEADERS`, `_TIMEOUT` and `_COMPRESSION` are read by the exporter itself.',
  {
    otlpEndpoint: optional({
      ...collector,
      name: 'OTEL_EXPORTER_OTLP_ENDPOINT',
      example: 'http://127.0.0.1:4318',
      description: 'The collector; `/v1/traces` is appended.',
    }),
    otlpTracesEndpoint: optional({
      ...collector,
      name: 'OTEL_EXPORTER_OTLP_TRACES_ENDPOINT',
      example: 'http://127.0.0.1:4318/v1/traces',
      description:
        'The collector’s whole URL for traces; takes precedence over `OTEL_EXPORTER_OTLP_ENDPOINT`.',
    }),
    otlpProtocol: variable({
      name: 'OTEL_EXPORTER_OTLP_PROTOCOL',
      parse: parse.oneOf(...PROTOCOLS),
      byDefault: 'http/protobuf',
      accepts: listChoices(PROTOCOLS),
      example: 'http/json',
      description: 'How spans are written.',
    }),
    otlpTracesProtocol: optional({
      name: 'OTEL_EXPORTER_OTLP_TRACES_PROTOCOL',
      parse: parse.oneOf(...PROTOCOLS),
      accepts: listChoices(PROTOCOLS),
      example: 'http/json',
      description: 'The same for traces alone; takes precedence over `OTEL_EXPORTER_OTLP_PROTOCOL`.',
    }),
    otlpCertificate: pemFile(
      'OTEL_EXPORTER_OTLP_CERTIFICATE',
      'PEM file of the collector’s certificate authorities, if Node does not trust them.',
    ),
    otlpTracesCertificate: pemFile(
      'OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE',
      'The same for traces alone; takes precedence over `OTEL_EXPORTER_OTLP_CERTIFICATE`.',
    ),
    otlpClientCertificate: pemFile(
      'OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE',
      'PEM file of the certificate that is shown to the collector.',
    ),
    otlpTracesClientCertificate: pemFile(
      'OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE',
      'The same for traces alone; takes precedence over `OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE`.',
    ),
    otlpClientKey: pemFile('OTEL_EXPORTER_OTLP_CLIENT_KEY', 'PEM file of the key of that certificate.'),
    otlpTracesClientKey: pemFile(
      'OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY',
      'The same for traces alone; takes precedence over `OTEL_EXPORTER_OTLP_CLIENT_KEY`.',
    ),
    tracesSampler: variable({
      name: 'OTEL_TRACES_SAMPLER',
      parse: parse.oneOf(...SAMPLERS),
      byDefault: 'parentbased_always_on',
      accepts: listChoices(SAMPLERS),
      example: 'parentbased_traceidratio',
      description:
        'Which exchanges become spans; `parentbased_…` follows the sampled flag of a received `traceparent`.',
    }),
    tracesSamplerArg: variable({
      name: 'OTEL_TRACES_SAMPLER_ARG',
      parse: parse.ratio,
      byDefault: 1,
      accepts: 'a number from 0 to 1',
      example: '0.01',
      description: 'The share of traces, for samplers with a ratio.',
    }),
    otelSdkDisabled: variable({
      name: 'OTEL_SDK_DISABLED',
      parse: parse.otelBoolean,
      byDefault: false,
      accepts: '`true` or `false`',
      example: 'true',
      description: '`true` exports nothing, whatever else is set.',
    }),
    otelServiceName: variable({
      name: 'OTEL_SERVICE_NAME',
      parse: parse.text,
      byDefault: 'poweron-gateway',
      accepts: 'a text',
      description: 'The name under which the spans appear.',
    }),
    spansScheduleDelay: milliseconds(
      'OTEL_BSP_SCHEDULE_DELAY',
      5000,
      [1],
      'How long spans may wait to be sent together.',
    ),
    spansExportTimeout: milliseconds(
      'OTEL_BSP_EXPORT_TIMEOUT',
      30_000,
      [1],
      'How long one export may take, retries included.',
    ),
    spansMaxQueue: count(
      'OTEL_BSP_MAX_QUEUE_SIZE',
      2048,
      [1, 1_000_000],
      'Spans that may wait for the collector, about a kilobyte each; more are dropped and counted.',
    ),
    spansMaxBatch: count(
      'OTEL_BSP_MAX_EXPORT_BATCH_SIZE',
      512,
      [1, 1_000_000],
      'Spans sent together, at most `OTEL_BSP_MAX_QUEUE_SIZE`.',
    ),
  },
)

type Values = { readonly [Key in keyof typeof traces.variables]: ValueOf<(typeof traces.variables)[Key]> }

/** @returns null where spans are not exported */
export function tracingSettingsFrom(values: Values): TracingSettings | null {
  if (values.otelSdkDisabled || (values.otlpEndpoint ?? values.otlpTracesEndpoint) === null) return null
  return {
    protocol: values.otlpTracesProtocol ?? values.otlpProtocol,
    serviceName: values.otelServiceName,
    certificateFiles: {
      ca: values.otlpTracesCertificate ?? values.otlpCertificate,
      cert: values.otlpTracesClientCertificate ?? values.otlpClientCertificate,
      key: values.otlpTracesClientKey ?? values.otlpClientKey,
    },
    sampler: values.tracesSampler,
    samplerRatio: values.tracesSamplerArg,
    batches: {
      scheduledDelayMillis: values.spansScheduleDelay,
      exportTimeoutMillis: values.spansExportTimeout,
      maxQueueSize: values.spansMaxQueue,
      maxExportBatchSize: Math.min(values.spansMaxBatch, values.spansMaxQueue),
    },
  }
}
