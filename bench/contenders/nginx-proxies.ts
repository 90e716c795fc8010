import { startNginx, upstreamBlock } from '../nginx.ts'
import { freePort } from '../processes.ts'
import { answering, type Contender, startService, together } from './contender.ts'

export const FORWARD = `proxy_pass http://backend; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host;`

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

/** nginx asks a Node service before each request (ngx_http_auth_request_module). */
function authRequest(service: string, title: string, tuned: boolean): Contender {
  return {
    name: tuned ? `${service}-tuned` : service,
    title: tuned ? `${title}, tuned` : title,
    authenticates: true,
    needsNginx: true,
    async start(stage) {
      const auth = await startService(service, stage, tuned)
      const port = await freePort()
      const running = await startNginx(
        stage.folder,
        service,
        `${upstreamBlock('backend', stage.backendPort)}
${upstreamBlock('auth', auth.port)}
  server {
    listen 127.0.0.1:${port} backlog=4096;
    location / {
      auth_request /auth;
      auth_request_set $user $upstream_http_x_user_id;
      ${FORWARD}
      proxy_set_header X-User-Id $user;
    }
    location = /auth {
      internal;
      proxy_pass http://auth;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
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

export const nginxAuthRequest = authRequest('auth-service', 'nginx auth_request + jose + postgres', false)
export const nginxAuthRequestBatched = authRequest(
  'auth-service-batched',
  'nginx auth_request + batched service',
  false,
)
export const nginxAuthRequestBatchedTuned = authRequest(
  'auth-service-batched',
  'nginx auth_request + batched service',
  true,
)
