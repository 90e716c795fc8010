import { spawn } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { freePort } from './raw-backend.ts'

export interface Series {
  readonly name: string
  readonly labels: Readonly<Record<string, string>>
}

/** The series of an exposition. */
export function readSeries(exposition: string): Series[] {
  return exposition
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => {
      const [, name = '', inner = ''] = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? /.exec(line) ?? []
      const pairs = [...inner.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)]
      return { name, labels: Object.fromEntries(pairs.map(([, label = '', value = '']) => [label, value])) }
    })
}

/** What a PromQL expression asks for. */
export interface Asked {
  readonly metrics: readonly { readonly name: string; readonly matchers: readonly Matcher[] }[]
  /** Labels of `by (…)`. */
  readonly grouped: readonly string[]
}

export interface Matcher {
  readonly label: string
  readonly operator: string
  readonly value: string
}

export function readExpression(expression: string): Asked {
  const metrics = expression.matchAll(/\b((?:gateway|nodejs|process)_\w+|up)\b(?:\{([^}]*)\})?/g)
  return {
    metrics: [...metrics].map(([, name = '', inner = '']) => ({
      name,
      matchers: [...inner.matchAll(/(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"/g)].map(
        ([, label = '', operator = '', value = '']) => ({ label, operator, value }),
      ),
    })),
    grouped: [...expression.matchAll(/\bby \(([^)]*)\)/g)].flatMap(([, list = '']) => list.split(/,\s*/)),
  }
}

export interface Prometheus {
  /** How many series the expression has now. @throws where it cannot be evaluated */
  query(expression: string): Promise<number>
  close(): Promise<void>
}

/** Prometheus that scrapes one gateway every second, by the job's name of `deploy/prometheus/prometheus.yml`. */
export async function startPrometheus(program: string, adminPort: number): Promise<Prometheus> {
  const port = await freePort()
  const folder = await mkdtemp(join(tmpdir(), 'gateway-prometheus-'))
  const file = join(folder, 'prometheus.yml')
  await writeFile(
    file,
    `global: { scrape_interval: 1s }
scrape_configs: [{ job_name: poweron-gateway, static_configs: [{ targets: ["127.0.0.1:${adminPort}"] }] }]
`,
  )
  const flags = [
    `--config.file=${file}`,
    `--storage.tsdb.path=${join(folder, 'data')}`,
    `--web.listen-address=127.0.0.1:${port}`,
  ]
  const child = spawn(program, flags, { stdio: 'ignore' })
  const gone = new Promise((resolve) => child.once('exit', resolve))
  return {
    async query(expression) {
      const body = new URLSearchParams({ query: expression })
      const answer = await fetch(`http://127.0.0.1:${port}/api/v1/query`, { method: 'POST', body })
      const { status, error, data } = (await answer.json()) as {
        status: string
        error?: string
        data: { result: readonly { readonly value: readonly [number, string] }[] }
      }
      if (status !== 'success') throw new Error(`${error}: ${expression}`)
      return data.result.length
    },
    async close() {
      child.kill('SIGKILL')
      await gone
      await rm(folder, { recursive: true, force: true })
    },
  }
}
