import { didYouMean, quote, shorten } from '../../core/message-text.ts'
import { type IdentityHeaderNames, spoofForm } from '../../http/field-classes.ts'
import type { Finding } from './file-problems.ts'
import { targetKey } from './formats.ts'
import type { JsonPath, SourcePositions } from './source-positions.ts'
import { checkTlsFiles } from './tls-files.ts'

type Fields = Readonly<Record<string, unknown>>

export interface CrossCheckOptions {
  /** The header names where the file has none. */
  readonly identity: IdentityHeaderNames
  /** The folder that file names are relative to; null where those files are not to be opened. */
  readonly filesIn: string | null
}

/**
 * What no single field shows: names that lead nowhere, ties, fields at odds with each other. Reads the file's raw
 * value, any part of which may be of the wrong shape, so that these problems are told together with those.
 *
 */
export function crossCheck(
  json: unknown,
  positions: SourcePositions,
  { identity, filesIn }: CrossCheckOptions,
): Finding[] {
  const file = fieldsOf(json)
  const names = identityNames(file, identity)
  return [
    ...identityClashes(names),
    ...prototypeKeys(file.upstreams, ['upstreams']),
    ...Object.entries(fieldsOf(file.upstreams)).flatMap(([name, upstream]) => [
      ...equalTargets(fieldsOf(upstream), ['upstreams', name, 'targets']),
      ...halfCertificates(fieldsOf(fieldsOf(upstream).tls), ['upstreams', name, 'tls']),
      ...tlsFiles(fieldsOf(fieldsOf(upstream).tls), ['upstreams', name, 'tls'], filesIn),
    ]),
    ...unknownUpstreams(file),
    ...ties(file, positions),
    ...itemsOf(file.routes).flatMap((route, i) => [
      ...prototypeKeys(fieldsOf(fieldsOf(route).requestHeaders).set, ['routes', i, 'requestHeaders', 'set']),
      ...prototypeKeys(fieldsOf(fieldsOf(route).responseHeaders).set, [
        'routes',
        i,
        'responseHeaders',
        'set',
      ]),
      ...uselessMandates(fieldsOf(route), ['routes', i]),
      ...uselessRefresh(fieldsOf(route), ['routes', i]),
      ...headerClashes(fieldsOf(route), ['routes', i], names),
    ]),
  ]
}

/** The schema's records pass this key over instead of refusing it. */
function prototypeKeys(record: unknown, path: JsonPath): Finding[] {
  const key = '__proto__'
  if (!Object.hasOwn(fieldsOf(record), key)) return []
  return [{ path: [...path, key], at: 'key', found: `the key "${key}"`, expected: 'another name' }]
}

interface IdentityName {
  readonly key: string
  readonly header: string
  readonly isGiven: boolean
}

function identityNames(file: Fields, byDefault: IdentityHeaderNames): IdentityName[] {
  const given = fieldsOf(file.identity)
  return Object.entries(byDefault).map(([key, header]: [string, string]) => {
    const own = given[key]
    return { key, header: typeof own === 'string' ? own : header, isGiven: own !== undefined }
  })
}

function identityClashes(names: readonly IdentityName[]): Finding[] {
  const order = [...names].sort((a, b) => Number(a.isGiven) - Number(b.isGiven))
  return order.flatMap(({ key, header }, i) => {
    const other = order.slice(0, i).find((before) => spoofForm(before.header) === spoofForm(header))
    if (other === undefined) return []
    return [
      { path: ['identity', key], found: quote(header), expected: `a name unlike that of "${other.key}"` },
    ]
  })
}

function equalTargets(upstream: Fields, path: JsonPath): Finding[] {
  const seen = new Set<string>()
  return itemsOf(upstream.targets).flatMap((target, i) => {
    const url = typeof target === 'string' ? target : fieldsOf(target).url
    if (typeof url !== 'string') return []
    const key = targetKey(url)
    if (!seen.has(key)) {
      seen.add(key)
      return []
    }
    const at = typeof target === 'string' ? [...path, i] : [...path, i, 'url']
    return [
      {
        path: at,
        found: 'a target that the upstream has already',
        expected: 'each target once; "weight" gives one a larger share',
      },
    ]
  })
}

function halfCertificates(tls: Fields, path: JsonPath): Finding[] {
  if ((tls.certFile === undefined) === (tls.keyFile === undefined)) return []
  const [there, missing] = tls.keyFile === undefined ? ['certFile', 'keyFile'] : ['keyFile', 'certFile']
  return [{ path, found: `no "${missing}"`, expected: `one, since there is "${there}"` }]
}

function tlsFiles(tls: Fields, path: JsonPath, folder: string | null): Finding[] {
  if (folder === null) return []
  return checkTlsFiles(tls, folder).map(({ key, ...finding }) => ({ path: [...path, key], ...finding }))
}

function unknownUpstreams(file: Fields): Finding[] {
  if (!isFields(file.upstreams)) return []
  const names = Object.keys(file.upstreams)
  const there = new Set(names)
  const known =
    names.length === 0
      ? 'the name of an upstream, of which there are none'
      : `one of ${shorten(names.join(', '))}`
  return itemsOf(file.routes).flatMap((route, i) => {
    const { upstream } = fieldsOf(route)
    if (typeof upstream !== 'string' || there.has(upstream)) return []
    return [
      {
        path: ['routes', i, 'upstream'],
        found: quote(upstream),
        expected: `${known}${didYouMean(upstream, names)}`,
      },
    ]
  })
}

function ties(file: Fields, positions: SourcePositions): Finding[] {
  const seen = new Map<string, number>()
  return itemsOf(file.routes).flatMap((route, i) => {
    const earlier = matchKeys(fieldsOf(route)).map((key) => {
      const first = seen.get(key)
      if (first === undefined) seen.set(key, i)
      return first
    })
    const first = earlier.find((index) => index !== undefined && index !== i)
    if (first === undefined) return []
    const { line } = positions.ofValue(['routes', first])
    return [
      {
        path: ['routes', i],
        found: `a tie with the route at line ${line}`,
        expected: 'another host, path or method',
      },
    ]
  })
}

/** One for each method; two routes that share one tie. None where the route does not say what it matches. */
function matchKeys({ host, path, exact, methods }: Fields): string[] {
  if (typeof path !== 'string' || (host !== undefined && typeof host !== 'string')) return []
  const isExact = exact === true
  const matcher = [host?.toLowerCase() ?? '', isExact ? path : path.replace(/(?<=[^/])\/$/, ''), isExact]
  const listed = methods === undefined ? ['every'] : itemsOf(methods)
  return listed.map((method) => JSON.stringify([...matcher, method]))
}

function uselessMandates({ auth, mandates }: Fields, path: JsonPath): Finding[] {
  if (auth !== 'none' || mandates === undefined) return []
  return [
    {
      path: [...path, 'mandates'],
      found: '"mandates" where "auth" is "none"',
      expected: '"auth" to be "required", or no "mandates"',
    },
  ]
}

function uselessRefresh({ auth, refresh }: Fields, path: JsonPath): Finding[] {
  if (auth !== 'none' || refresh === undefined) return []
  return [
    {
      path: [...path, 'refresh'],
      found: '"refresh" where "auth" is "none"',
      expected: '"auth" to be "required" or "optional", or no "refresh"',
    },
  ]
}

function headerClashes(route: Fields, path: JsonPath, names: readonly IdentityName[]): Finding[] {
  const forms = new Set(names.map(({ header }) => spoofForm(header)))
  return ['requestHeaders', 'responseHeaders'].flatMap((key) => {
    const edits = fieldsOf(route[key])
    const set = Object.keys(fieldsOf(edits.set)).map((name) => ({
      name,
      path: [...path, key, 'set', name],
      at: 'key' as const,
    }))
    const removed = itemsOf(edits.remove).flatMap((name, i) =>
      typeof name === 'string' ? [{ name, path: [...path, key, 'remove', i], at: 'value' as const }] : [],
    )
    const all = [...set, ...removed]
    return all.flatMap(({ name, ...place }, i) => {
      const found = quote(name)
      if (key === 'requestHeaders' && forms.has(spoofForm(name))) {
        return [{ ...place, found, expected: 'a header that does not carry an identity' }]
      }
      const isRepeated = all.slice(0, i).some((before) => before.name.toLowerCase() === name.toLowerCase())
      return isRepeated ? [{ ...place, found, expected: 'each header once, in "set" or in "remove"' }] : []
    })
  })
}

function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function fieldsOf(value: unknown): Fields {
  return isFields(value) ? value : {}
}

function itemsOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : []
}
