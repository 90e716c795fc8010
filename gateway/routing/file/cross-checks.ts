import { didYouMean, quote, shorten } from '../../core/message-text.ts'
import { type IdentityHeaderNames, spoofForm } from '../../http/field-classes.ts'
import type { Finding } from './file-problems.ts'
import { targetKey } from './formats.ts'
import type { JsonPath, SourcePositions } from './source-positions.ts'
import { checkTlsFiles } from './tls-files.ts'

type Fields = Readonly<Record<string, unknown>>

export interface CrossCheckOptions {
  /** The names of identity headers that the file does not set. */
  readonly identity: IdentityHeaderNames
  /** The folder to which file names are relative; null where the TLS files are not to be opened. */
  readonly filesIn: string | null
}

/**
 * Finds problems that no single field shows: names of upstreams that do not exist, ties, fields that contradict each
 * other. Reads the raw value of the file, any part of which may be of the wrong type, so that these problems are
 * reported together with those of the schema.
 */
export function crossCheck(
  json: unknown,
  positions: SourcePositions,
  { identity, filesIn }: CrossCheckOptions,
): Finding[] {
  const file = fieldsOf(json)
  const names = identityNames(file, identity)
  return [
    ...findIdentityClashes(names),
    ...findPrototypeKeys(file.upstreams, ['upstreams']),
    ...Object.entries(fieldsOf(file.upstreams)).flatMap(([name, upstream]) => [
      ...findEqualTargets(fieldsOf(upstream), ['upstreams', name, 'targets']),
      ...findHalfCertificates(fieldsOf(fieldsOf(upstream).tls), ['upstreams', name, 'tls']),
      ...findTlsFileProblems(fieldsOf(fieldsOf(upstream).tls), ['upstreams', name, 'tls'], filesIn),
    ]),
    ...findUnknownUpstreams(file),
    ...findTies(file, positions),
    ...itemsOf(file.routes).flatMap((route, i) => [
      ...findPrototypeKeys(fieldsOf(fieldsOf(route).requestHeaders).set, [
        'routes',
        i,
        'requestHeaders',
        'set',
      ]),
      ...findPrototypeKeys(fieldsOf(fieldsOf(route).responseHeaders).set, [
        'routes',
        i,
        'responseHeaders',
        'set',
      ]),
      ...findUselessMandates(fieldsOf(route), ['routes', i]),
      ...findUselessRefresh(fieldsOf(route), ['routes', i]),
      ...findHeaderClashes(fieldsOf(route), ['routes', i], names),
    ]),
  ]
}

/** The schema's records ignore this key instead of refusing it. */
function findPrototypeKeys(record: unknown, path: JsonPath): Finding[] {
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

function findIdentityClashes(names: readonly IdentityName[]): Finding[] {
  const order = [...names].sort((a, b) => Number(a.isGiven) - Number(b.isGiven))
  return order.flatMap(({ key, header }, i) => {
    const other = order.slice(0, i).find((before) => spoofForm(before.header) === spoofForm(header))
    if (other === undefined) return []
    return [
      {
        path: ['identity', key],
        found: quote(header),
        expected: `a name that differs from that of "${other.key}"`,
      },
    ]
  })
}

function findEqualTargets(upstream: Fields, path: JsonPath): Finding[] {
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
        found: 'a target that the upstream already has',
        expected: 'each target once; "weight" gives one a larger share',
      },
    ]
  })
}

function findHalfCertificates(tls: Fields, path: JsonPath): Finding[] {
  if ((tls.certFile === undefined) === (tls.keyFile === undefined)) return []
  const [there, missing] = tls.keyFile === undefined ? ['certFile', 'keyFile'] : ['keyFile', 'certFile']
  return [{ path, found: `no "${missing}"`, expected: `"${missing}" beside "${there}"` }]
}

function findTlsFileProblems(tls: Fields, path: JsonPath, folder: string | null): Finding[] {
  if (folder === null) return []
  return checkTlsFiles(tls, folder).map(({ key, ...finding }) => ({ path: [...path, key], ...finding }))
}

function findUnknownUpstreams(file: Fields): Finding[] {
  if (!isFields(file.upstreams)) return []
  const names = Object.keys(file.upstreams)
  const there = new Set(names)
  const known =
    names.length === 0
      ? 'the name of an upstream, but "upstreams" is empty'
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

function findTies(file: Fields, positions: SourcePositions): Finding[] {
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

/** Keys of what a route matches, one for each host and method. Two routes with a common key tie. Empty for an invalid route. */
function matchKeys({ host, path, exact, methods }: Fields): string[] {
  const hosts = host === undefined ? [''] : Array.isArray(host) ? host : [host]
  if (typeof path !== 'string' || hosts.some((each) => typeof each !== 'string')) return []
  if (exact !== undefined && typeof exact !== 'boolean') return []
  const isExact = exact === true
  const matcher = [isExact ? path : path.replace(/(?<=[^/])\/$/, ''), isExact]
  const listed = methods === undefined ? ['every'] : itemsOf(methods)
  return hosts.flatMap((each: string) =>
    listed.map((method) => JSON.stringify([each.toLowerCase(), ...matcher, method])),
  )
}

function findUselessMandates({ auth, mandates }: Fields, path: JsonPath): Finding[] {
  if (auth !== 'none' || mandates === undefined) return []
  return [
    {
      path: [...path, 'mandates'],
      found: '"mandates" where "auth" is "none"',
      expected: '"auth" to be "required", or no "mandates"',
    },
  ]
}

function findUselessRefresh({ auth, refresh }: Fields, path: JsonPath): Finding[] {
  if (auth !== 'none' || refresh === undefined) return []
  return [
    {
      path: [...path, 'refresh'],
      found: '"refresh" where "auth" is "none"',
      expected: '"auth" to be "required" or "optional", or no "refresh"',
    },
  ]
}

function findHeaderClashes(route: Fields, path: JsonPath, names: readonly IdentityName[]): Finding[] {
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
