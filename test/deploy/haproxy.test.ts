import { writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import t from 'tap'
import { frontPorts, loadFront, startBehind, startFront } from '../support/front.ts'
import { checkFront } from '../support/front-checks.ts'
import { checkOutages } from '../support/front-outage.ts'
import { ask } from '../support/http-client.ts'
import { until } from '../support/plain-gateway.ts'
import { programPath } from '../support/programs.ts'
import { inRepository } from '../support/repository.ts'

t.test('deploy/haproxy: everything passes, and no request fails during a rolling restart', async (t) => {
  const program = programPath('haproxy')
  if (program === null) {
    t.pass('HAProxy is not installed here: deploy/haproxy was not tried')
    return
  }
  const behind = await startBehind(t, { DRAIN_DELAY_MS: '3000', DRAIN_TIMEOUT_MS: '5000' })
  const ports = await frontPorts()
  const { certFile, cert, key } = behind.certificate
  const bundle = join(dirname(certFile), 'bundle.pem')
  await writeFile(bundle, Buffer.concat([cert, key]))
  const [one, two] = behind.fleet.slots
  await startFront(t, {
    program,
    file: 'deploy/haproxy/haproxy.cfg',
    instead: {
      'maxconn 40000': 'maxconn 1000',
      'bind :80': `bind 127.0.0.1:${ports.plain}`,
      'bind :443 ssl crt /etc/haproxy/certs/': `bind 127.0.0.1:${ports.tls} ssl crt ${bundle}`,
      '/etc/haproxy/unavailable.html': inRepository('deploy/unavailable.html'),
      '127.0.0.1:8404': `127.0.0.1:${ports.other}`,
      '10.0.0.11:8080': `127.0.0.1:${one!.port}`,
      '10.0.0.12:8080': `127.0.0.1:${two!.port}`,
    },
    args: (file) => ['-db', '-f', file],
  })
  await checkFront(t, behind, ports)

  const bothAreUp = async () => {
    const { body } = await ask({ url: `http://127.0.0.1:${ports.other}/;csv` })
    return body.split('\n').filter((line) => /^gateways,gateway\d,.*,UP,/.test(line)).length === 2
  }
  const stop = loadFront(`https://localhost:${ports.tls}/`, behind, ['GET', 'POST'])
  for (const slot of [0, 1]) {
    await until(bothAreUp)
    t.equal(await behind.fleet.leave(slot), 0)
    await behind.fleet.start(slot)
  }
  await until(bothAreUp)
  const seen = await stop()
  t.same([...seen.keys()].sort(), ['GET 200', 'POST 200'], JSON.stringify([...seen]))
  t.ok([...seen.values()].reduce((sum, count) => sum + count) > 100, JSON.stringify([...seen]))
  const metrics = await ask({ url: `http://127.0.0.1:${ports.other}/metrics` })
  t.match(metrics.body, /haproxy_server_status/)
  await checkOutages(t, behind, ports.tls)
})
