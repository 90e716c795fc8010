import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { type Load, type LoadResult, PATH } from './load-shape.ts'

const SCRIPT = new URL('wrk.lua', import.meta.url).pathname

/** Uses one thread, since a second one would take a core from what is measured. */
export async function runWrk(load: Load): Promise<LoadResult> {
  const { stdout } = await promisify(execFile)('wrk', [
    '-t1',
    `-c${load.connections}`,
    `-d${load.seconds}s`,
    '--timeout',
    '10s',
    '-s',
    SCRIPT,
    `http://127.0.0.1:${load.port}`,
    '--',
    load.tokensFile,
    PATH,
    String(load.seed),
    String(load.pauseMs ?? 0),
  ])
  const numbers = /^RESULT (.*)$/m.exec(stdout)?.[1]?.split(' ').map(Number)
  if (numbers === undefined) throw new Error(`wrk printed no result: ${stdout}`)
  const [requests, durationUs, failed, p50, p99, p999] = numbers as [
    number,
    number,
    number,
    number,
    number,
    number,
  ]
  return {
    requests,
    requestsPerS: (requests / durationUs) * 1e6,
    failed,
    p50Ms: p50 / 1000,
    p99Ms: p99 / 1000,
    p999Ms: p999 / 1000,
  }
}
