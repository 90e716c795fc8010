import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type Running, startProcess } from './processes.ts'

/** Starts one nginx with one worker and no access log. @param http the content of its `http` block */
export async function startNginx(folder: string, name: string, http: string): Promise<Running> {
  const prefix = join(folder, name)
  await mkdir(prefix, { recursive: true })
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
    .map((kind) => `${kind}_temp_path ${join(prefix, kind)};`)
    .join(' ')
  const file = join(prefix, 'nginx.conf')
  await writeFile(
    file,
    `daemon off;
worker_processes 1;
pid ${join(prefix, 'pid')};
error_log stderr crit;
events { worker_connections 16384; }
http {
  access_log off;
  keepalive_requests 1000000000;
  keepalive_timeout 600s;
  tcp_nodelay on;
  ${temporary}
${http}
}
`,
  )
  return startProcess({ command: 'nginx', args: ['-e', 'stderr', '-p', prefix, '-c', file] })
}

/** @param keepsConnections without, nginx before 1.29.7 opens a connection for each request */
export function upstreamBlock(name: string, port: number, keepsConnections = true): string {
  const keepAlive = keepsConnections ? ' keepalive 128; keepalive_requests 1000000000;' : ''
  return `  upstream ${name} { server 127.0.0.1:${port};${keepAlive} }`
}
