import { decodeJwt, decodeProtectedHeader } from 'jose'
import { describeTarget } from '../admin/process-status.ts'
import type { TargetStatus } from '../admin/status.ts'
import type { TokenRow } from '../auth/token-store/token-table.ts'
import { isoTime } from '../core/iso-time.ts'
import { escapeInvisible } from '../core/message-text.ts'
import type { CookieValue } from '../http/cookies.ts'
import { MASK, maskJwts, SECRET_NAME } from '../telemetry/logging/masking.ts'
import type { UpstreamConfig } from '../upstreams/config.ts'
import type { Upstream } from '../upstreams/upstream.ts'

const CLAIMS = ['jti', 'userId', 'mandateId', 'sessionId', 'type', 'iss', 'aud'] as const
const TIMES = ['nbf', 'exp'] as const

/** The claims of a token, valid or not. The token itself is never shown; its claims alone admit no request. */
export function describeToken(cookie: CookieValue, name: string): string[] {
  if (cookie.kind === 'none') return [`no cookie ${name}`]
  if (cookie.kind === 'ambiguous') return [`several cookies ${name} with different values`]
  try {
    const { alg, kid } = decodeProtectedHeader(cookie.value)
    const claims = decodeJwt(cookie.value)
    const header = `signed with ${formatValue(alg)}${kid === undefined ? '' : `, kid ${formatValue(kid)}`}`
    const claimTexts = CLAIMS.flatMap((claim) =>
      claims[claim] == null ? [] : [`${claim} ${formatValue(claims[claim])}`],
    )
    const times = TIMES.flatMap((claim) => {
      const at = claims[claim]
      return typeof at === 'number' ? [`${claim} ${formatInstant(at * 1000)}`] : []
    })
    return [header, [...claimTexts, ...times].join(', ') || 'no claims']
  } catch {
    return ['not a JWT']
  }
}

export function describeRow(row: TokenRow): string[] {
  return [
    `id ${formatValue(row.id)}, status ${formatValue(row.status)}${row.expired ? ', expired' : ''}`,
    `user ${formatValue(row.userId)}, mandate ${row.mandateId === null ? '(none)' : formatValue(row.mandateId)}, session ${formatValue(row.sessionId)}`,
    `expires ${row.expiresAt === null ? 'with the token' : formatInstant(row.expiresAt)}`,
  ]
}

/** The targets of an upstream, of whose state nothing is known outside a running gateway. */
export function describeTargets(name: string, upstream: UpstreamConfig): string[] {
  const { health, ejection } = upstream
  const watchedBy = [health === undefined ? '' : 'health checks', ejection === undefined ? '' : 'ejection']
    .filter((each) => each !== '')
    .join(' and ')
  const note = `which of them are up, by ${watchedBy}, only the running gateway knows: explain --admin`
  return [...describeChoice(name, upstream, () => ''), ...(watchedBy === '' ? [] : [note])]
}

/** The targets of an upstream of this process, each with its state. */
export function describeLiveTargets(upstream: Upstream, now: number): string[] {
  const states = new Map(
    upstream.targets.map((target) => [target.url, describeState(describeTarget(target, upstream, now))]),
  )
  return describeChoice(upstream.name, upstream.config, (url) => `: ${states.get(url)}`)
}

function describeState({ state, reason, ejectedForS, easedTo, inFlight }: TargetStatus): string {
  const how =
    state === 'ejected'
      ? `ejected for ${Math.ceil(ejectedForS ?? 0)} s more after ${reason}`
      : state === 'unhealthy'
        ? `unhealthy, ${escapeInvisible(reason ?? '')}`
        : easedTo < 100
          ? `up, at ${easedTo} % of its weight (slow start)`
          : 'up'
  return `${how}; ${inFlight} in flight`
}

function describeChoice(
  name: string,
  { targets, balance, retries }: UpstreamConfig,
  stateOf: (url: string) => string,
): string[] {
  const total = targets.reduce((sum, { weight }) => sum + weight, 0)
  const lines = targets.map(
    ({ url, weight }) =>
      `${targets.length === 1 ? url : `${url} (weight ${weight} of ${total})`}${stateOf(url)}`,
  )
  const how =
    targets.length === 1
      ? `${name}, its only target`
      : balance === 'round-robin'
        ? `${name}, in turn by weight`
        : `${name}, of two drawn by weight the one with fewer requests in flight`
  const more = targets.length > 1 && retries > 0 ? [`up to ${retries} more where one fails`] : []
  return [how, ...lines, ...more]
}

/** @param flat name, value pairs. Cookies that pass, credentials and keys may be secrets of the backend's. */
export function describeHeaders(flat: readonly string[], open: ReadonlySet<string>): string[] {
  const out: string[] = []
  for (let i = 0; i < flat.length; i += 2) {
    const name = flat[i]!
    out.push(
      `${name}: ${open.has(name.toLowerCase()) ? escapeInvisible(flat[i + 1]!) : maskValue(name, flat[i + 1]!)}`,
    )
  }
  return out
}

function maskValue(name: string, value: string): string {
  if (/^cookie$/i.test(name)) return value.replace(/=[^;]*/g, `=${MASK}`)
  if (SECRET_NAME.test(name)) return MASK
  return escapeInvisible(maskJwts(value))
}

function formatValue(value: unknown): string {
  return escapeInvisible(typeof value === 'string' ? maskJwts(value) : JSON.stringify(value)).slice(0, 200)
}

function formatInstant(ms: number): string {
  return Number.isNaN(ms) ? 'never' : isoTime(ms)
}
