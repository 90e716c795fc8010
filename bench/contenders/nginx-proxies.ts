import { startNginx, upstreamBlock } from '../nginx.ts'
import { freePort } from '../processes.ts'
import { answering, type Contender, startService, together } from './contender.ts'

/** Without these two nginx speaks HTTP/1.0 and keeps no connection. */
const KEPT = 'proxy_http_version 1.1; proxy_set_header Connection "";'

export const FORWARD = `proxy_pass http://backend; ${KEPT} proxy_set_header Host $host;`

export const nginxAlone: Contender = {
  name: 'nginx',
  title: 'nginx alone',
  authenticates: false,
  needsNginx: true,
  async start({ folder, backendPort }) {
    const port = await freePort()
    const running = await startNginx(
      folder,
      'nginx-alone',
      `${upstreamBlock('backend', backendPort)}
  server { listen 127.0.0.1:${port} backlog=4096; location / { ${FORWARD} } }`,
    )
    await answering(port)
    return together(port, [running])
  },
}

/** nginx asks a Node service before each request, with the lines of ngx_http_auth_request_module's documentation. */
function authRequest(service: string, title: string, tuned: boolean): Contender {
  const name = tuned ? `${service}-tuned` : service
  return {
    name,
    title: tuned ? `${title}, tuned` : title,
    authenticates: true,
    needsNginx: true,
    async start(stage) {
      const auth = await startService(service, stage, tuned)
      const port = await freePort()
      const kept = tuned ? KEPT : ''
      const running = await startNginx(
        stage.folder,
        name,
        `${upstreamBlock('backend', stage.backendPort, tuned)}
${upstreamBlock('auth', auth.port, tuned)}
  server {
    listen 127.0.0.1:${port} backlog=4096;
    location / {
      auth_request /auth;
      auth_request_set $user $upstream_http_x_user_id;
      proxy_pass http://backend;
      ${kept}
      proxy_set_header Host $host;
      proxy_set_header X-User-Id $user;
    }
    location = /auth {
      internal;
      proxy_pass http://auth;
      ${kept}
      proxy_pass_request_body off;
      proxy_set_header Content-Length "";
    }
  }`,
      )
      await answering(port)
      return together(port, [running, auth])
    },
  }
}

const ONE_BY_ONE = ['auth-service', 'nginx auth_request + jose + postgres'] as const
const BATCHED = ['auth-service-batched', 'nginx auth_request + batched service'] as const

export const nginxAuthRequest = authRequest(...ONE_BY_ONE, false)
export const nginxAuthRequestTuned = authRequest(...ONE_BY_ONE, true)
export const nginxAuthRequestBatched = authRequest(...BATCHED, false)
export const nginxAuthRequestBatchedTuned = authRequest(...BATCHED, true)
