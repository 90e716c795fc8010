import t, { type Test } from 'tap'
import { createAuthority } from '../support/certificates.ts'
import { startGateway, type TestGateway } from '../support/gateway.ts'
import { until } from '../support/plain-gateway.ts'
import { startPostgres } from '../support/postgres.ts'
import { programPath, run } from '../support/programs.ts'
import { readExpression, readSeries, type Series, startPrometheus } from '../support/prometheus.ts'
import { freePort, OK, startRawBackend } from '../support/raw-backend.ts'
import { headings, inRepository, readText, readYaml } from '../support/repository.ts'

const ALERTS = 'deploy/prometheus/alerts.yml'
const CASES = 'deploy/prometheus/alerts.test.yml'
const DASHBOARD = 'deploy/grafana/poweron-gateway.json'

interface Rule {
  readonly alert: string
  readonly expr: string
  readonly labels: Readonly<Record<string, string>>
  readonly annotations: Readonly<Record<string, string>>
}

interface Panel {
  readonly title: string
  readonly targets?: readonly { readonly expr: string }[]
}

const rules = readYaml<{ groups: readonly { rules: readonly Rule[] }[] }>(ALERTS).groups.flatMap(
  ({ rules }) => rules,
)
const panels = (JSON.parse(readText(DASHBOARD)) as { panels: readonly Panel[] }).panels

/** Each expression with its place in the file. */
const expressions = [
  ...rules.map(({ alert, expr }) => ({ place: `alert ${alert}`, expr })),
  ...panels.flatMap(({ title, targets = [] }) =>
    targets.map(({ expr }) => ({ place: `panel ${title}`, expr })),
  ),
]

/** A gateway with TLS, one good upstream and one whose target does not listen, after a request to each. */
async function busyGateway(t: Test): Promise<TestGateway> {
  const authority = createAuthority(t, 'test authority')
  const { certFile, keyFile } = authority.issue('localhost', ['IP:127.0.0.1'])
  const [postgres, backend] = await Promise.all([
    startPostgres(),
    startRawBackend(({ socket }) => void socket.write(OK)),
  ])
  const gateway = await startGateway({
    databaseUrl: await postgres.createDatabase(),
    routing: {
      upstreams: {
        api: { targets: [backend.url] },
        gone: { targets: [`http://127.0.0.1:${await freePort()}`] },
      },
      routes: [
        { path: '/', upstream: 'api', auth: 'none' },
        { path: '/gone', upstream: 'gone', auth: 'none' },
      ],
    },
    env: {
      TLS_CERT_FILE: certFile,
      TLS_KEY_FILE: keyFile,
      ERROR_PAGES_DIR: t.testdir({ 'error.html': '{{title}}' }),
      ACCESS_LOG: 'off',
    },
  })
  t.teardown(async () => {
    await gateway.stop()
    await Promise.all([postgres.close(), backend.close()])
  })
  const { Agent, request } = await import('undici')
  const dispatcher = new Agent({ connect: { ca: authority.cert } })
  t.teardown(() => dispatcher.close())
  for (const path of ['/', '/gone']) {
    const { body } = await request(`https://127.0.0.1:${gateway.port}${path}`, { dispatcher })
    await body.dump()
  }
  return gateway
}

/** The labels that Prometheus adds to every series. */
const ADDED = ['job', 'instance', 'le', '__name__']

function problemsOf(expression: string, series: readonly Series[]): string[] {
  const { metrics, grouped } = readExpression(expression)
  const found = metrics.map(({ name, matchers }) => {
    const same = series.filter((each) => each.name === name)
    const labels = new Set([...ADDED, ...same.flatMap((each) => Object.keys(each.labels))])
    return { name, matchers, same, labels }
  })
  const known = new Set(found.flatMap(({ labels }) => [...labels]))
  return found
    .filter(({ name }) => name !== 'up')
    .flatMap(({ name, matchers, same, labels }) => [
      ...(same.length === 0 ? [`${name} is no metric`] : []),
      ...matchers
        .filter(({ label }) => !labels.has(label))
        .map(({ label }) => `${name} has no label ${label}`),
      ...matchers
        .filter(({ label, operator }) => operator === '=' && !ADDED.includes(label))
        .filter(({ label, value }) => !same.some((each) => each.labels[label] === value))
        .map(({ label, value }) => `${name}: ${label} is never ${value}`),
    ])
    .concat(grouped.filter((label) => !known.has(label)).map((label) => `grouped by ${label}, which is none`))
}

t.test('every metric and label in the alerts and the dashboard exists in a gateway', async (t) => {
  const gateway = await busyGateway(t)
  const metrics = await (await fetch(`http://127.0.0.1:${gateway.adminPort}/metrics`)).text()
  const series = readSeries(metrics)
  for (const { place, expr } of expressions) t.same(problemsOf(expr, series), [], place)
  t.same(
    problemsOf('rate(gateway_requests{rout="/", job="x"}[5m])', series),
    [
      'gateway_requests is no metric',
      'gateway_requests has no label rout',
      'gateway_requests: rout is never /',
    ],
    'what does not exist is found',
  )

  const prometheus = programPath('prometheus')
  if (prometheus === null) {
    t.pass('Prometheus is not installed here: that panels show something was not tried')
    return
  }
  const { query, close } = await startPrometheus(prometheus, gateway.adminPort)
  t.teardown(close)
  const shown = (expr: string) =>
    query(
      expr
        .replaceAll('$__rate_interval', '5s')
        .replaceAll('$job', 'poweron-gateway')
        .replaceAll('$instance', '.*'),
    )
  await until(() =>
    shown('rate(process_cpu_seconds_total[5s])').then(
      (count) => count > 0,
      () => false,
    ),
  )
  for (const { title, targets = [] } of panels) {
    for (const { expr } of targets) t.ok((await shown(expr)) > 0, `panel ${title} shows something`)
  }
  for (const { alert, expr } of rules) await t.resolves(query(expr), `${alert} can be evaluated`)
})

t.test('promtool accepts the rules, their test cases and the configuration', async (t) => {
  const promtool = programPath('promtool')
  if (promtool === null) {
    t.pass('promtool is not installed here: alert rules were read, but not run')
    return
  }
  for (const args of [
    ['check', 'rules', ALERTS],
    ['check', 'config', 'deploy/prometheus/prometheus.yml'],
    ['check', 'config', 'deploy/compose/prometheus.yml'],
    ['test', 'rules', CASES],
  ]) {
    const { code, output } = await run(promtool, [...args.slice(0, -1), inRepository(args.at(-1)!)])
    t.equal(code, 0, `${args.join(' ')}\n${output}`)
  }
})

t.test('every alert has a test case in which it fires and one in which it does not', async (t) => {
  const { tests } = readYaml<{
    tests: { alert_rule_test: { alertname: string; exp_alerts: unknown[] }[] }[]
  }>(CASES)
  const cases = tests.flatMap(({ alert_rule_test }) => alert_rule_test)
  for (const alert of new Set(rules.map(({ alert }) => alert))) {
    const its = cases.filter(({ alertname }) => alertname === alert)
    t.ok(
      its.some(({ exp_alerts }) => exp_alerts.length > 0),
      `${alert} fires`,
    )
    t.ok(
      its.some(({ exp_alerts }) => exp_alerts.length === 0),
      `${alert} keeps quiet`,
    )
  }
})

t.test(
  'every alert links to its section in docs/operating.md, and every section there has an alert',
  async (t) => {
    const sections = headings('docs/operating.md', 3).filter((title) => title.startsWith('Gateway'))
    t.same(new Set(sections), new Set(rules.map(({ alert }) => alert)))
    t.equal(new Set(sections).size, sections.length)
    for (const { alert, annotations, labels } of rules) {
      t.equal(annotations.runbook_url, `docs/operating.md#${alert.toLowerCase()}`)
      t.match(labels.severity, /^(critical|warning)$/)
    }
  },
)
