import { spawn } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { accepts } from './accepts.ts'
import type { Balancer } from './haproxy.ts'
import { until } from './plain-gateway.ts'
import { freePort } from './raw-backend.ts'

export interface NginxFront {
  readonly program: string
  readonly target: number
  /** Lines of the location that passes everything on. */
  readonly lines: readonly string[]
}

/** nginx before one port, once it accepts connections. */
export async function startNginxFront({ program, target, lines }: NginxFront): Promise<Balancer> {
  const port = await freePort()
  const folder = await mkdtemp(join(tmpdir(), 'gateway-nginx-'))
  const file = join(folder, 'nginx.conf')
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    (name) => `${name}_temp_path ${folder}/${name};`,
  )
  await writeFile(
    file,
    `daemon off; pid ${folder}/nginx.pid; error_log stderr; worker_processes 1;
events {}
http {
  access_log off;
  ${temporary.join(' ')}
  server {
    listen 127.0.0.1:${port};
    location / {
      proxy_pass http://127.0.0.1:${target};
      proxy_http_version 1.1;
      ${lines.join('\n      ')}
    }
  }
}
`,
  )
  const nginx = spawn(program, ['-c', file, '-p', folder], { stdio: 'ignore' })
  const gone = new Promise((resolve) => nginx.once('exit', resolve))
  await until(() => accepts(port))
  return {
    port,
    async close() {
      nginx.kill('SIGTERM')
      await gone
      await rm(folder, { recursive: true, force: true })
    },
  }
}
