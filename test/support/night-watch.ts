import type { Test } from 'tap'
import { type Dispatcher, request } from 'undici'
import type { Status } from '../../gateway/admin/status.ts'
import type { TestGateway } from './gateway.ts'
import { until } from './plain-gateway.ts'

/**
 * What an operator sees in a night of faults: each symptom is on the status page with its cause, in the metrics, in
 * the log where there is something to say, and in `readyz` where the instance is not to get traffic.
 */
export interface Symptom {
  readonly title: string
  readonly breaks: () => unknown
  readonly mends?: () => unknown
  /** As the status page has it. */
  readonly severity: 'red' | 'amber'
  readonly section: string
  readonly told: RegExp
  /** A series, and its value. */
  readonly metric?: readonly [series: string, value: number]
  /** Of a line of the log. */
  readonly line?: RegExp
  /** Of the public `readyz`; the instance is ready where absent. */
  readonly reason?: string
}

/** A minute is what an operator has; what is found at all is found sooner. */
const FOUND_WITHIN_MS = 30_000

export async function statusOf({ adminPort }: TestGateway): Promise<Status> {
  return (await (await fetch(`http://127.0.0.1:${adminPort}/status.json`)).json()) as Status
}

/** @returns waits until the symptom is found, everywhere where it should be. @param from of the lines of the log */
export function createNightWatch(
  gateway: TestGateway,
  dispatcher: Dispatcher,
): (t: Test, symptom: Symptom, from: number) => Promise<void> {
  async function publicReasons(): Promise<readonly string[]> {
    const { body } = await request(`https://127.0.0.1:${gateway.port}/-/readyz`, { dispatcher })
    return ((await body.json()) as { reasons?: readonly string[] }).reasons ?? []
  }

  return async function isFound(t: Test, symptom: Symptom, from: number): Promise<void> {
    const { severity, section, told, metric, line, reason } = symptom
    const began = performance.now()
    let seen: Status['problems'] = []
    try {
      await until(async () => {
        seen = (await statusOf(gateway)).problems
        return seen.some(
          (found) =>
            found.section === section &&
            found.severity === severity &&
            told.test(`${found.what}. ${found.detail}`),
        )
      }, FOUND_WITHIN_MS)
    } catch {
      t.fail('the status page does not say it', { seen })
    }
    t.comment(`found in ${Math.round(performance.now() - began)} ms`)
    if (metric !== undefined) await until(async () => (await gateway.metric(metric[0])) === metric[1])
    if (line !== undefined) await until(() => gateway.lines.slice(from).some(({ msg }) => line.test(msg)))
    if (reason !== undefined) await until(async () => (await publicReasons()).includes(reason))
    else t.same(await publicReasons(), [])
  }
}
