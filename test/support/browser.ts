import { Agent } from 'node:http'
import { type Answer, ask } from './http-client.ts'

/** One request of a browser's, as it went. */
export interface Trip {
  readonly user: string
  readonly method: string
  readonly path: string
  readonly began: number
  readonly ended: number
  /** 0 where no whole answer came. */
  readonly status: number
  readonly body: string
  readonly error: string | null
}

/** A cookie jar and its few connections. */
export interface Browser {
  readonly user: string
  readonly signedIn: boolean
  /** When the access cookie's token ends, epoch milliseconds. */
  readonly accessEndsAt: number
  readonly cookie: string
  send(method: string, path: string, options?: SendOptions): Promise<Trip>
  /** Forgets all cookies. */
  clear(): void
  close(): void
}

export interface SendOptions {
  readonly headers?: Readonly<Record<string, string>>
  /** Instead of the jar's. */
  readonly cookie?: string
}

const TIMEOUT_MS = 6000

/** @param onTrip told of every request once it is over */
export function createBrowser(user: string, origin: string, onTrip: (trip: Trip) => void): Browser {
  const jar = new Map<string, string>()
  const agent = new Agent({ keepAlive: true, maxSockets: 6 })
  const cookie = () => [...jar].map(([name, value]) => `${name}=${value}`).join('; ')

  function keep(answer: Answer): void {
    for (const field of answer.headers['set-cookie'] ?? []) {
      const [pair = '', ...attributes] = field.split('; ')
      const at = pair.indexOf('=')
      if (attributes.includes('Max-Age=0')) jar.delete(pair.slice(0, at))
      else jar.set(pair.slice(0, at), pair.slice(at + 1))
    }
  }

  return {
    user,
    get signedIn() {
      return jar.has('refresh_token')
    },
    get accessEndsAt() {
      const token = jar.get('auth_token')
      if (token === undefined) return 0
      return JSON.parse(Buffer.from(token.split('.')[1]!, 'base64url').toString()).exp * 1000
    },
    get cookie() {
      return cookie()
    },
    async send(method, path, { headers = {}, cookie: other } = {}) {
      const began = performance.now()
      const told = (rest: Pick<Trip, 'status' | 'body' | 'error'>): Trip => {
        const trip = { user, method, path, began, ended: performance.now(), ...rest }
        onTrip(trip)
        return trip
      }
      try {
        const answer = await ask({
          url: origin + path,
          method,
          agent,
          headers: { cookie: other ?? cookie(), ...headers },
          onRequest: (request) =>
            void request.setTimeout(TIMEOUT_MS, () => request.destroy(new Error('timeout'))),
        })
        keep(answer)
        return told({ status: answer.status, body: answer.body, error: null })
      } catch (error) {
        return told({ status: 0, body: '', error: String(error) })
      }
    },
    clear: () => jar.clear(),
    close: () => agent.destroy(),
  }
}
