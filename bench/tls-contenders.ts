import { execFileSync } from 'node:child_process'
import { request } from 'node:https'
import { join } from 'node:path'
import { groupProcesses, type StartedContender } from './contenders/contender.ts'
import { startGateway } from './contenders/gateway.ts'
import { FORWARD } from './contenders/nginx-proxies.ts'
import { PATH } from './load-shape.ts'
import { startNginx, upstreamBlock } from './nginx.ts'
import { findFreePort, waitUntil } from './processes.ts'
import type { BenchStage } from './stage.ts'

export interface SecureContender {
  readonly title: string
  /** True where it refuses a request without a valid session. */
  readonly authenticates: boolean
  readonly needsNginx: boolean
  start(stage: BenchStage, certificate: Certificate): Promise<StartedContender>
}

interface Certificate {
  readonly certFile: string
  readonly keyFile: string
}

export const TLS_CONTENDERS: readonly SecureContender[] = [
  {
    title: 'PowerOn Gateway',
    authenticates: true,
    needsNginx: false,
    start: (stage, certificate) => startGateway(stage, { env: tlsEnvironment(certificate) }),
  },
  {
    title: 'PowerOn Gateway, `auth: none`',
    authenticates: false,
    needsNginx: false,
    start: (stage, certificate) => startGateway(stage, { auth: 'none', env: tlsEnvironment(certificate) }),
  },
  { title: 'nginx alone', authenticates: false, needsNginx: true, start: startSecureNginx },
]

/** ECDSA on P-256, as public certificate authorities issue them. */
export function makeCertificate(folder: string): Certificate {
  const [certFile, keyFile] = [join(folder, 'tls.crt'), join(folder, 'tls.key')]
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', keyFile]
  const names = ['-subj', '/CN=bench.example', '-addext', 'subjectAltName=DNS:bench.example']
  execFileSync('openssl', ['req', '-x509', '-days', '30', ...key, ...names, '-out', certFile], {
    stdio: 'pipe',
  })
  return { certFile, keyFile }
}

function tlsEnvironment({ certFile, keyFile }: Certificate) {
  return { TLS_CERT_FILE: certFile, TLS_KEY_FILE: keyFile }
}

async function startSecureNginx(
  stage: BenchStage,
  { certFile, keyFile }: Certificate,
): Promise<StartedContender> {
  const port = await findFreePort()
  const running = await startNginx(
    stage.folder,
    'nginx-tls',
    `${upstreamBlock('backend', stage.backendPort)}
  server {
    listen 127.0.0.1:${port} ssl http2 backlog=4096;
    ssl_certificate ${certFile};
    ssl_certificate_key ${keyFile};
    ssl_protocols TLSv1.2 TLSv1.3;
    location / { ${FORWARD} }
  }`,
  )
  await waitUntil('nginx', async () => (await statusOf(port, null)) > 0)
  return groupProcesses(port, [running])
}

/** A contender that admits every request would be fast for the wrong reason. @throws Error for those */
export async function checkDecisions(
  stage: BenchStage,
  { title, authenticates }: SecureContender,
  { port }: StartedContender,
): Promise<void> {
  const [good, none] = [await statusOf(port, stage.tokens.active.list[0]!), await statusOf(port, null)]
  const expected = authenticates ? 401 : 200
  if (good !== 200 || none !== expected)
    throw new Error(`${title} answered ${good} with a token and ${none} without`)
}

function statusOf(port: number, token: string | null): Promise<number> {
  const headers = token === null ? {} : { cookie: `auth_token=${token}` }
  return new Promise((resolve, reject) => {
    request(
      { port, host: '127.0.0.1', path: PATH, headers, agent: false, rejectUnauthorized: false },
      (res) => {
        res.resume()
        resolve(res.statusCode ?? 0)
      },
    )
      .on('error', reject)
      .end()
  })
}
