import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import type { Load, LoadResult } from './load-shape.ts'

const RUNNER = new URL('autocannon-runner.ts', import.meta.url).pathname

/** For machines without wrk. It needs more CPU than what it measures, so only ratios of its figures say something. */
export async function runAutocannon(load: Load): Promise<LoadResult> {
  const { stdout } = await promisify(execFile)(process.execPath, [RUNNER, JSON.stringify(load)])
  return JSON.parse(stdout) as LoadResult
}
