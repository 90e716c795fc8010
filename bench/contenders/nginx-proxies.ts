import { startNginx, upstreamBlock } from '../nginx.ts'
import { freePort } from '../processes.ts'
import { answering, type Contender, startService, together } from './contender.ts'

/** Without these two nginx before 1.29.7 speaks HTTP/1.0 and keeps no connection. */
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

interface AuthRequest {
  readonly name: string
  readonly title: string
  readonly service: string
  /** The service has the gateway's flags. */
  readonly tuned: boolean
  /** Whether connections are kept, as they are by default since nginx 1.29.7. */
  readonly kept: boolean
}

/** nginx asks a Node service before each request, with the lines of ngx_http_auth_request_module's documentation. */
function authRequest({ name, title, service, tuned, kept }: AuthRequest): Contender {
  return {
    name,
    title,
    authenticates: true,
    needsNginx: true,
    async start(stage) {
      const auth = await startService(service, stage, tuned)
      const port = await freePort()
      const keep = kept ? KEPT : ''
      const running = await startNginx(
        stage.folder,
        name,
        `${upstreamBlock('backend', stage.backendPort, kept)}
${upstreamBlock('auth', auth.port, kept)}
  server {
    listen 127.0.0.1:${port} backlog=4096;
    location / {
      auth_request /auth;
      auth_request_set $user $upstream_http_x_user_id;
      proxy_pass http://backend;
      ${keep}
      proxy_set_header Host $host;
      proxy_set_header X-User-Id $user;
    }
    location = /auth {
      internal;
      proxy_pass http://auth;
      ${keep}
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

export const nginxAuthRequest = authRequest({
  name: 'auth-service',
  title: 'nginx auth_request + jose + postgres',
  service: 'auth-service',
  tuned: false,
  kept: true,
})
export const nginxAuthRequestNotKept = authRequest({
  name: 'auth-service-not-kept',
  title: 'nginx auth_request + jose + postgres, before 1.29.7',
  service: 'auth-service',
  tuned: false,
  kept: false,
})
export const nginxAuthRequestBatched = authRequest({
  name: 'auth-service-batched',
  title: 'nginx auth_request + batched service',
  service: 'auth-service-batched',
  tuned: false,
  kept: true,
})
export const nginxAuthRequestBatchedTuned = authRequest({
  name: 'auth-service-batched-tuned',
  title: 'nginx auth_request + batched service, tuned',
  service: 'auth-service-batched',
  tuned: true,
  kept: true,
})
