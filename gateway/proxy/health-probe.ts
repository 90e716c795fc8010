import type { Dispatcher } from 'undici'
import { createTargetConnections, parseTarget, type TlsOptions } from './dispatcher.ts'

export interface HealthProbe {
  /** @returns null where the answer is 2xx or 3xx in time, else what is wrong; never rejects */
  readonly check: (path: string, timeoutMs: number) => Promise<string | null>
  close(): Promise<void>
}

/** Checks on a connection of their own: a target whose connections are all busy is not for that unwell. */
export function createHealthProbe(target: {
  readonly url: string
  readonly http2: boolean
  readonly tls: TlsOptions | null
}): HealthProbe {
  const { host } = parseTarget(target.url)
  // The check's own deadline is the one that counts; these only bound what is left behind.
  const bounds = { connectMs: 60_000, responseMs: 60_000, idleMs: 60_000, maxConnections: 1 }
  const { dispatcher, servername } = createTargetConnections({ ...target, ...bounds })

  function check(path: string, timeoutMs: number): Promise<string | null> {
    return new Promise((resolve) => {
      let controller: Dispatcher.DispatchController | null = null
      const deadline = setTimeout(() => {
        controller?.abort(new Error('too late'))
        resolve(`no answer to the check within ${timeoutMs} ms`)
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
