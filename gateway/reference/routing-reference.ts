import type { z } from 'zod'
import { FIELD_NAME } from '../routing/file/formats.ts'
import { codeSpan, markdownTable, toSentence } from './markdown.ts'

type Schema = z.core.JSONSchema.JSONSchema
type Field = Schema | boolean

/** One table of the document: an object of the file, by what it is called in the text. */
interface Section {
  readonly title: string
  readonly schema: Schema
}

const ABOUT = `## The routing file

\`UPSTREAMS_FILE\` is strict JSON: no comments, no trailing commas, no key twice. Unknown keys are errors. Relative names of
files in it are relative to it. \`upstreams.example.json\` works as it is, and \`upstreams.schema.json\` is its JSON Schema:
with \`"$schema": "./upstreams.schema.json"\` editors complete and explain every key.

\`\`\`json
{
  "$schema": "./upstreams.schema.json",
  "upstreams": {
    "app": {
      "targets": ["http://10.0.0.11:8000", { "url": "http://10.0.0.12:8000", "weight": 2 }],
      "health": { "path": "/healthz" },
      "ejection": {}
    }
  },
  "routes": [
    { "path": "/", "upstream": "app", "loginRedirect": "/login?next={path}" },
    { "path": "/login", "upstream": "app", "auth": "none" },
    { "host": "admin.example.com", "path": "/", "upstream": "app", "mandates": ["ops"] }
  ]
}
\`\`\`

The most specific route wins, whatever the order: exact host, wildcard host (the longest first), any host; then exact path,
then the longest prefix; then with methods before without. Two routes that tie are an error. Durations are a whole number
and a unit, \`ms\`, \`s\` or \`m\`, from \`1ms\` to a day.

The file is watched, also when it is replaced by rename or through a symlink, and read again on SIGHUP. A good one replaces
the old one between two requests; a bad one is refused whole, and the log has the first 100 problems with their places.
Before that, \`poweron-gateway check FILE\` has them all.

`

/** Every key of the routing file, object by object. */
export function routingReference(schema: Schema): string {
  return `${ABOUT}${sectionsOf({ title: 'The file', schema }).map(renderSection).join('\n')}`
}

/** An object and, behind it, those within it. */
function sectionsOf(section: Section): Section[] {
  const within = Object.entries(section.schema.properties ?? {}).flatMap(([key, field]) => {
    const object = objectIn(field)
    if (object === null) return []
    return sectionsOf({
      title: titleOf(section, key),
      schema: { ...object, description: descriptionOf(field) },
    })
  })
  return [section, ...within]
}

const TITLES: Readonly<Record<string, string>> = {
  'The file/upstreams': 'An upstream',
  'The file/routes': 'A route',
  'An upstream/targets': 'A target',
}

function titleOf(section: Section, key: string): string {
  return (
    TITLES[`${section.title}/${key}`] ??
    `${section.title.replace(/^(?:An?|The) /, '')}: ${key}`.replace(/^file: /, '')
  )
}

/** The object that a field is, holds many of, or may be; null where it has no keys of its own. */
function objectIn(field: Field | readonly Field[] | undefined): Schema | null {
  if (typeof field !== 'object' || Array.isArray(field)) return null
  const schema = field as Schema
  if (schema.properties !== undefined) return schema
  const inner = [schema.items, schema.additionalProperties, ...(schema.anyOf ?? [])]
  return inner.map((each) => objectIn(each as Field)).find((found) => found !== null) ?? null
}

function renderSection({ title, schema }: Section): string {
  const required = new Set(schema.required)
  const rows = Object.entries(schema.properties ?? {}).map(([key, field]) => [
    codeSpan(key),
    required.has(key) ? '**required**' : defaultOf(field),
    describeAccepted(field),
    meaningOf(descriptionOf(field)),
  ])
  const about = schema.description === undefined || title === 'The file' ? '' : `${schema.description}\n\n`
  return `### ${toSentence(title).slice(0, -1)}\n\n${about}${markdownTable(['key', 'default', 'accepts', 'meaning'], rows)}`
}

/** The description for editors, without what has its own column here. */
function meaningOf(description: string): string {
  return description
    .replace(/[;.]? ?[Tt]he default is `?[^`]+`?\.$/, '.')
    .replace(/ `500ms`, `5s` or `1m`\.$/, '')
}

function descriptionOf(field: Field): string {
  return typeof field === 'object' ? (field.description ?? '') : ''
}

function defaultOf(field: Field): string {
  if (typeof field !== 'object' || field.default === undefined) return 'none'
  return typeof field.default === 'object' ? 'those below' : codeSpan(String(field.default))
}

function describeAccepted(field: Field): string {
  if (typeof field !== 'object') return ''
  const [example] = field.examples ?? []
  const shown =
    example === undefined || example === field.default ? '' : `; such as ${codeSpan(JSON.stringify(example))}`
  return `${kindOf(field)}${shown}`
}

function kindOf(field: Schema): string {
  if (field.enum !== undefined) return field.enum.map((value) => codeSpan(String(value))).join(', ')
  if (field.anyOf !== undefined) return field.anyOf.map((each) => kindOf(each as Schema)).join(', or ')
  if (field.type === 'integer') return `a whole number ${rangeOf(field)}`
  if (field.type === 'boolean') return '`true` or `false`'
  if (field.type === 'array') return `a list${(field.minItems ?? 0) > 0 ? ', not empty' : ''}`
  if (field.type === 'object') return objectIn(field) === null ? 'an object' : 'an object, see below'
  if (field.pattern === FIELD_NAME.source) return 'the name of a header'
  return field.pattern?.includes('ms|s|m') === true ? 'a duration' : 'a string'
}

function rangeOf({ minimum = 0, maximum = Number.MAX_SAFE_INTEGER }: Schema): string {
  return maximum === Number.MAX_SAFE_INTEGER ? `from ${minimum}` : `from ${minimum} to ${maximum}`
}
