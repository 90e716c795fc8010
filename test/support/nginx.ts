import { spawn } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import { until } from './plain-gateway.ts'
import { programPath } from './programs.ts'
import { freePort } from './raw-backend.ts'

export interface Nginx {
  readonly url: string
}

export function nginxIsInstalled(): boolean {
  return programPath('nginx') !== null
}

/**
 * nginx that speaks HTTP/2 without TLS before a backend of HTTP/1.1; it ends with the test.
 *
 * @param server directives of its server
 */
export async function startNginx(t: Test, backendPort: number, server: readonly string[]): Promise<Nginx> {
  const port = await freePort()
  const folder = await mkdtemp(join(tmpdir(), 'gateway-nginx-'))
  const file = join(folder, 'nginx.conf')
  await writeFile(file, configuration({ folder, port, backendPort, server }))
  const nginx = spawn(programPath('nginx')!, ['-p', folder, '-c', file], { stdio: 'ignore' })
  const gone = new Promise((resolve) => nginx.once('exit', resolve))
  t.teardown(async () => {
    nginx.kill('SIGKILL')
    await gone
    await rm(folder, { recursive: true, force: true })
  })
  await until(() => accepts(port))
  return { url: `http://127.0.0.1:${port}` }
}

function configuration(parts: {
  readonly folder: string
  readonly port: number
  readonly backendPort: number
  readonly server: readonly string[]
}): string {
  const { folder, port, backendPort, server } = parts
  const folders = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
    .map((name) => `${name}_temp_path ${folder}/${name};`)
    .join(' ')
  return `daemon off; master_process off; pid ${folder}/pid; error_log ${folder}/error.log;
events { worker_connections 4096; }
http {
  access_log off; ${folders}
  upstream backend { server 127.0.0.1:${backendPort}; keepalive 64; }
  server {
    listen 127.0.0.1:${port} http2;
    ${server.join(' ')}
    location / {
      proxy_pass http://backend;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
    }
  }
}
`
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1' })
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', () => resolve(false))
  })
}
