import { isIP } from 'node:net'
import type { DatabaseHost } from '../database/address.ts'
import { parseDatabaseUrl } from '../database/url.ts'

/** The value, or what was expected instead, or the whole problem. */
export type Parsed<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly expected: string }
  | { readonly ok: false; readonly problem: string }

export type Parser<T> = (text: string) => Parsed<T>

const accept = <T>(value: T): Parsed<T> => ({ ok: true, value })
const reject = (expected: string): { ok: false; expected: string } => ({ ok: false, expected })

export const text: Parser<string> = (input) => accept(input)

export function integer(min: number, max: number): Parser<number> {
  return (input) => {
    const value = /^\d{1,16}$/.test(input) ? Number(input) : Number.NaN
    return value >= min && value <= max ? accept(value) : reject(`a whole number from ${min} to ${max}`)
  }
}

export const onOff: Parser<boolean> = (input) => {
  const value = input.toLowerCase()
  if (value === 'on' || value === 'true' || value === '1') return accept(true)
  if (value === 'off' || value === 'false' || value === '0') return accept(false)
  return reject('"on" or "off"')
}

/** Accepts the same words as `onOff`; the problem names `true` and `false`. */
export const trueOrFalse: Parser<boolean> = (input) => {
  const read = onOff(input)
  return read.ok ? read : reject('"true" or "false"')
}

/** Booleans of the OpenTelemetry specification: only `true` and `false`, in any case. */
export const otelBoolean: Parser<boolean> = (input) => {
  const value = input.toLowerCase()
  return value === 'true' || value === 'false' ? accept(value === 'true') : reject('"true" or "false"')
}

/** A number from 0 to 1. */
export const ratio: Parser<number> = (input) => {
  const value = /^\d*\.?\d+$/.test(input) ? Number(input) : Number.NaN
  return value >= 0 && value <= 1 ? accept(value) : reject('a number from 0 to 1')
}

export function oneOf<T extends string>(...values: readonly T[]): Parser<T> {
  return (input) => {
    const found = values.find((value) => value === input)
    return found === undefined ? reject(`one of ${values.join(', ')}`) : accept(found)
  }
}

export const list: Parser<readonly string[]> = (input) => {
  const items = input
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== '')
  return items.length === 0 ? reject('a comma-separated list') : accept(items)
}

/** CIDRs, or single addresses. */
export const cidrs: Parser<readonly string[]> = (input) => {
  const items = list(input)
  if (!items.ok) return reject('a comma-separated list of CIDRs, such as 10.0.0.0/8,fd00::/8')
  const bad = items.value.find((item) => !isCidr(item))
  return bad === undefined ? items : reject(`CIDRs, such as 10.0.0.0/8 or fd00::/8; "${bad}" is none`)
}

function isCidr(item: string): boolean {
  const [address = '', prefix, ...rest] = item.split('/')
  const family = isIP(address)
  // A zone (fe80::1%eth0) names an interface, not a network.
  if (family === 0 || address.includes('%') || rest.length > 0) return false
  return prefix === undefined || (/^\d{1,3}$/.test(prefix) && Number(prefix) <= (family === 6 ? 128 : 32))
}

/** Host names, or `*.` followed by the end of host names, in lower case. */
export const hostNames: Parser<readonly string[]> = (input) => {
  const items = list(input.toLowerCase())
  if (!items.ok) return reject('a comma-separated list of host names')
  const bad = items.value.find((item) => !/^(\*\.)?[a-z0-9_]([a-z0-9._-]*[a-z0-9_])?$/.test(item))
  return bad === undefined ? items : reject(`host names without port; "${bad}" is none`)
}

/** A cookie's name is a token (RFC 6265, section 4.1.1). */
export const cookieName: Parser<string> = (input) =>
  /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/.test(input)
    ? accept(input)
    : reject("a cookie name: letters, digits and !#$%&'*+-.^_`|~")

/** `SameSite` of a cookie, in any case. */
export const sameSite: Parser<'strict' | 'lax' | 'none'> = (input) =>
  oneOf('strict', 'lax', 'none')(input.toLowerCase())

/** A `Domain` for cookies. A dot before it has no meaning (RFC 6265, section 5.2.3) and is dropped. */
export const cookieDomain: Parser<string> = (input) => {
  const domain = input.toLowerCase().replace(/^\./, '')
  return domain.split('.').every((label) => /^[a-z0-9_-]+$/.test(label) && !/^-|-$/.test(label))
    ? accept(domain)
    : reject('a domain such as example.com, without scheme, port and path')
}

/** A path prefix for the gateway's own endpoints. */
export const pathPrefix: Parser<string> = (input) => {
  const trimmed = input.replace(/\/+$/, '')
  return /^(\/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+$/.test(trimmed)
    ? accept(trimmed)
    : reject('a path such as /- or /_gateway, of letters, digits and -._~')
}

export const databaseUrl: Parser<string> = (input) => {
  const expected =
    'postgres://user:password@host:port/database, the password percent-encoded; several hosts are separated by commas'
  if (!/^postgres(ql)?:\/\//.test(input)) return reject(expected)
  try {
    const address = parseDatabaseUrl(input)
    if (!address.hosts.every(isDatabaseHost)) return reject(expected)
    const { problems } = address
    return problems.length === 0 ? accept(input) : { ok: false, problem: problems.join('; ') }
  } catch {
    return reject(expected)
  }
}

function isDatabaseHost({ host, port }: DatabaseHost): boolean {
  const hostOk = host.startsWith('/') || isIP(host) !== 0 || /^[A-Za-z0-9_.-]+$/.test(host)
  return hostOk && port >= 1 && port <= 65535
}

/** Credentials in the URL are refused: `fetch` would not send them. */
export const httpUrl: Parser<string> = (input) => {
  const url = /^https?:\/\//i.test(input) ? URL.parse(input) : null
  return url !== null && url.username === '' && url.password === ''
    ? accept(input)
    : reject('an http: or https: URL without user and password')
}

/** A channel for LISTEN. */
export const channel: Parser<string> = (input) =>
  Buffer.byteLength(input) <= 63 && !input.includes('\0')
    ? accept(input)
    : reject('a channel name of at most 63 bytes')

/** `auto` means one worker for each core. */
export const workers: Parser<number | 'auto'> = (input) => {
  if (input === 'auto') return accept(input)
  const counted = integer(1, 256)(input)
  return counted.ok ? counted : reject('"auto" or a whole number from 1 to 256')
}

export const production: Parser<boolean> = (input) => accept(input === 'production')

/** RFC 7518, section 3.2: a key of the size of the hash output or larger. */
const MIN_SECRET_BYTES = 32

export const secret: Parser<string> = (input) => {
  const bytes = Buffer.byteLength(input)
  return bytes >= MIN_SECRET_BYTES
    ? accept(input)
    : { ok: false, problem: `the secret has ${bytes} bytes; expected at least ${MIN_SECRET_BYTES}` }
}
