import t from 'tap'
import { frontPorts, loadFront, startBehind, startFront } from '../support/front.ts'
import { checkFront } from '../support/front-checks.ts'
import { checkOutages } from '../support/front-outage.ts'
import { programPath } from '../support/programs.ts'
import { inRepository } from '../support/repository.ts'

t.test(
  'deploy/nginx: everything passes, and no request that only reads fails during a restart',
  async (t) => {
    const program = programPath('nginx')
    if (program === null) {
      t.pass('nginx is not installed here: deploy/nginx was not tried')
      return
    }
    const behind = await startBehind(t, { DRAIN_DELAY_MS: '3000', DRAIN_TIMEOUT_MS: '5000' })
    const ports = await frontPorts()
    const [one, two] = behind.fleet.slots
    await startFront(t, {
      program,
      file: 'deploy/nginx/nginx.conf',
      instead: {
        '/var/log/nginx/access.log': 'FOLDER/access.log',
        'pid /run/nginx.pid;': 'pid FOLDER/nginx.pid; daemon off;',
        'worker_processes auto;': 'worker_processes 1;',
        'listen 80;': `listen 127.0.0.1:${ports.plain};`,
        'listen 443 ssl http2;': `listen 127.0.0.1:${ports.tls} ssl http2;`,
        '/etc/nginx/tls/tls.crt': behind.certificate.certFile,
        '/etc/nginx/tls/tls.key': behind.certificate.keyFile,
        '/etc/nginx/unavailable.html': inRepository('deploy/unavailable.html'),
        '10.0.0.11:8080': `127.0.0.1:${one!.port}`,
        '10.0.0.12:8080': `127.0.0.1:${two!.port}`,
      },
      args: (file, folder) => ['-c', file, '-p', folder],
    })
    await checkFront(t, behind, ports)

    const stop = loadFront(`https://localhost:${ports.tls}/`, behind, ['GET'])
    t.equal(await behind.fleet.leave(0), 0)
    await behind.fleet.start(0)
    const seen = await stop()
    t.same([...seen.keys()].sort(), ['GET 200'], JSON.stringify([...seen]))
    t.ok([...seen.values()].reduce((sum, count) => sum + count) > 100, JSON.stringify([...seen]))
    await checkOutages(t, behind, ports.tls)
  },
)
