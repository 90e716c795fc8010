import { startNginx, upstreamBlock } from '../nginx.ts'
import { findFreePort } from '../processes.ts'
import { type Contender, groupProcesses, startService, waitForAnswer } from './contender.ts'

/** Without these two nginx before 1.29.7 speaks HTTP/1.0 and keeps no connection. */
const KEEP_CONNECTIONS = 'proxy_http_version 1.1; proxy_set_header Connection "";'

export const FORWARD = `proxy_pass http://backend; ${KEEP_CONNECTIONS} proxy_set_header Host $host;`

export const nginxAlone: Contender = {
  name: 'nginx',
  title: 'nginx alone',
  authenticates: false,
  needs: 'nginx',
  async start({ folder, backendPort }) {
    const port = await findFreePort()
    const running = await startNginx(
      folder,
      'nginx-alone',
      `${upstreamBlock('backend', backendPort)}
  server { listen 127.0.0.1:${port} backlog=4096; location / { ${FORWARD} } }`,
    )
    await waitForAnswer(port)
    return groupProcesses(port, [running])
  },
}

interface AuthRequest {
  readonly name: string
  readonly title: string
  readonly service: string
  /** Whether the service has the gateway's flags. */
  readonly tuned: boolean
  /** Whether nginx keeps connections to its upstreams, as they are by default since nginx 1.29.7. */
  readonly keepsConnections: boolean
}

/** nginx asks a Node service before each request, with the lines of ngx_http_auth_request_module's documentation. */
function createAuthRequestContender({
  name,
  title,
  service,
  tuned,
  keepsConnections,
}: AuthRequest): Contender {
  return {
    name,
    title,
    authenticates: true,
    needs: 'nginx',
    async start(stage) {
      const auth = await startService(service, stage, tuned)
      const port = await findFreePort()
      const keepAlive = keepsConnections ? KEEP_CONNECTIONS : ''
      const running = await startNginx(
        stage.folder,
        name,
        `${upstreamBlock('backend', stage.backendPort, keepsConnections)}
${upstreamBlock('auth', auth.port, keepsConnections)}
  server {
    listen 127.0.0.1:${port} backlog=4096;
    location / {
      auth_request /auth;
      auth_request_set $user $upstream_http_x_user_id;
      proxy_pass http://backend;
      ${keepAlive}
      proxy_set_header Host $host;
      proxy_set_header X-User-Id $user;
    }
    location = /auth {
      internal;
      proxy_pass http://auth;
      ${keepAlive}
      proxy_pass_request_body off;
      proxy_set_header Content-Length "";
    }
  }`,
      )
      await waitForAnswer(port)
      return groupProcesses(port, [running, auth])
    },
  }
}

export const nginxAuthRequest = createAuthRequestContender({
  name: 'auth-service',
  title: 'nginx auth_request + jose + postgres',
  service: 'auth-service',
  tuned: false,
  keepsConnections: true,
})
export const nginxAuthRequestNotKept = createAuthRequestContender({
  name: 'auth-service-not-kept',
  title: 'nginx auth_request + jose + postgres, before 1.29.7',
  service: 'auth-service',
  tuned: false,
  keepsConnections: false,
})
export const nginxAuthRequestBatched = createAuthRequestContender({
  name: 'auth-service-batched',
  title: 'nginx auth_request + batched service',
  service: 'auth-service-batched',
  tuned: false,
  keepsConnections: true,
})
export const nginxAuthRequestBatchedTuned = createAuthRequestContender({
  name: 'auth-service-batched-tuned',
  title: 'nginx auth_request + batched service, tuned',
  service: 'auth-service-batched',
  tuned: true,
  keepsConnections: true,
})
