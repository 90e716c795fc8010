import t from 'tap'
import { createAuthority } from '../support/certificates.ts'
import { ask } from '../support/http-client.ts'
import { startOtlpCollector } from '../support/otlp-collector.ts'
import { plainGateway } from '../support/plain-gateway.ts'

t.test(
  'spans go to a collector that requires the client certificate of the variables of OpenTelemetry',
  async (t) => {
    const authority = createAuthority(t, 'the collector’s authority')
    const { cert, key } = authority.issue('127.0.0.1', ['IP:127.0.0.1'])
    const client = authority.issue('gateway', ['DNS:gateway'])
    const collector = await startOtlpCollector(0, {
      cert,
      key,
      ca: authority.cert,
      requestCert: true,
      rejectUnauthorized: true,
    })
    t.teardown(() => collector.close())
    const gateway = await plainGateway(t, {
      targets: ['http://127.0.0.1:1'],
      env: {
        OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json',
        OTEL_BSP_SCHEDULE_DELAY: '50',
        OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
        OTEL_EXPORTER_OTLP_CERTIFICATE: authority.certFile,
        OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE: client.certFile,
        OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY: client.keyFile,
      },
    })
    await ask({ url: gateway.url })
    t.equal((await collector.span(({ kind }) => kind === 2)).name, 'GET /')
  },
)
