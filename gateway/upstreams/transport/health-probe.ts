import type { LookupFunction } from 'node:net'
import { createTargetConnections, parseTargetAddress, type TlsOptions } from './dispatcher.ts'
import type { Dispatcher } from './undici.ts'

const TOO_LATE = new Error('too late')

export interface HealthProbe {
  /** @returns null where the answer is 2xx or 3xx in time, else what is wrong; never rejects */
  readonly check: (path: string, timeoutMs: number) => Promise<string | null>
  close(): Promise<void>
}

/**
 * Checks on connections of their own, each on a new one: a target whose connections are all busy is not
 * unhealthy because of that, nor is one that has closed an idle connection.
 */
export function createHealthProbe(target: {
  readonly url: string
  readonly connectMs: number
  readonly http2: boolean
  readonly tls: TlsOptions | null
  readonly lookup: LookupFunction
}): HealthProbe {
  const { host } = parseTargetAddress(target.url)
  // The check's own deadline is the one that counts; these only bound what is left behind.
  const bounds = { responseMs: 60_000, idleMs: 60_000, maxConnections: 1 }
  const { dispatcher, servername } = createTargetConnections({ ...target, ...bounds }).fresh

  function check(path: string, timeoutMs: number): Promise<string | null> {
    return new Promise((resolve) => {
      let controller: Dispatcher.DispatchController | null = null
      let late = false
      const deadline = setTimeout(() => {
        late = true
        resolve(`no answer to the check within ${timeoutMs} ms`)
        controller?.abort(TOO_LATE)
      }, timeoutMs)
      const done = (problem: string | null) => {
        clearTimeout(deadline)
        resolve(problem)
      }
      dispatcher.dispatch(
        {
          path,
          method: 'GET',
          headers: ['Host', host, 'User-Agent', 'poweron-gateway-health'],
          ...(servername === null ? {} : { servername }),
        } as Dispatcher.DispatchOptions,
        {
          onRequestStart(started) {
            controller = started
            if (late) started.abort(TOO_LATE)
          },
          onResponseStart(_controller, status) {
            if (status >= 200) done(status < 400 ? null : `the check was answered with ${status}`)
          },
          onResponseData() {},
          onResponseEnd() {},
          onResponseError(_controller, error) {
            done(
              `the check failed: ${'code' in error && error.code !== undefined ? String(error.code) : error.message}`,
            )
          },
        },
      )
    })
  }

  return { check, close: () => dispatcher.destroy() }
}
