import type { DatabaseAddress, DatabaseHost } from './address.ts'
import { readParameters } from './url-parameters.ts'

const DEFAULT_PORT = 5432

/**
 * Takes `postgres://user:password@a:5432,b:5433/db?sslmode=require` apart (PostgreSQL manual, section 34.1.1.2).
 *
 * @param url begins with `postgres://` or `postgresql://`
 * @throws TypeError or URIError where the rest is no URL, or not percent-encoded
 */
export function parseDatabaseUrl(url: string): DatabaseAddress {
  // The user ends at the last @, as in any URL (WHATWG URL, section 4.4).
  const parts = /^(postgres(?:ql)?:\/\/(?:[^/?#]*@)?)([^/?#]*)(.*)$/s.exec(url)
  const authority = parts?.[2] ?? ''
  const parsed = new URL(`${parts?.[1] ?? ''}host${parts?.[3] ?? ''}`)
  return {
    hosts: authority.split(',').map(parseHost),
    user: nonEmpty(decodeURIComponent(parsed.username)),
    password: nonEmpty(decodeURIComponent(parsed.password)),
    database: nonEmpty(decodeURIComponent(parsed.pathname.slice(1))),
    ...readParameters(parsed.searchParams),
  }
}

/** A host as a URL has it. */
export function describeHost({ host, port }: DatabaseHost): string {
  return `${host.includes(':') ? `[${host}]` : host}:${port}`
}

function parseHost(text: string): DatabaseHost {
  const parts = /^(?:\[(.*)\]|([^:]*))(?::(\d+))?$/.exec(text)
  const host = decodeURIComponent(parts?.[1] ?? parts?.[2] ?? '')
  return {
    host: parts !== null && host === '' ? 'localhost' : host,
    port: Number(parts?.[3] ?? DEFAULT_PORT),
  }
}

function nonEmpty(text: string): string | undefined {
  return text === '' ? undefined : text
}
