import { z } from 'zod'
import type { UpstreamConfig } from '../../upstreams/config.ts'
import {
  checkEditedName,
  checkIdentityName,
  checkLoginRedirect,
  checkMethod,
  checkOrigin,
  checkRouteHost,
  checkRoutePath,
  FIELD_NAME,
  FIELD_VALUE,
  METHOD,
  UPSTREAM_NAME,
} from './formats.ts'
import { checked, integer, list, matching, strict } from './schema-fields.ts'
import { HOST_LIKE, upstream } from './upstream-schema.ts'

/*
 * The shape of the routing file. Descriptions are what editors show, through `upstreams.schema.json`.
 */

const A_HEADER_NAME = { regex: FIELD_NAME, expected: 'a header name' }

function identityName(carries: string, byDefault: string) {
  return checked(checkIdentityName, A_HEADER_NAME)
    .default(byDefault)
    .describe(`Header that carries ${carries}; the default is \`${byDefault}\`.`)
}

const identity = strict({
  userId: identityName("the user's id", 'X-User-Id'),
  mandateId: identityName("the mandate's (tenant's) id, where the token's row has one", 'X-Mandate-Id'),
  sessionId: identityName("the session's id", 'X-Session-Id'),
  tokenId: identityName("the token's id", 'X-Token-Id'),
}).describe(
  'Headers that carry the identity to upstreams. Clients cannot send them: a header whose name is the same once ' +
    'letters are lower-cased and all characters but letters and digits are read as `-` is removed from every request.',
)

/* Patterns for editors, for values that a function checks. */
const ORIGIN_LIKE = '^https?://[^/?#@\\s]+$'
const LOCATION_LIKE = '^(?:/(?!/)|[Hh][Tt][Tt][Pp][Ss]?://)[!-\\[\\]-~]*$'

function headerEdits(of: 'request' | 'response') {
  const name = checked((value) => checkEditedName(value, of), A_HEADER_NAME).describe('Name of a header.')
  const value = matching(FIELD_VALUE, 'printable ASCII without spaces at its ends').describe(
    'Printable ASCII without spaces at its ends.',
  )
  return strict({
    set: z
      .record(name, value)
      .optional()
      .describe(`Headers that are added to the ${of}, each instead of those of its name that are there.`)
      .meta({ examples: [{ 'X-Served-By': 'gateway' }] }),
    remove: z
      .array(name)
      .optional()
      .describe(`Names of headers that are removed from the ${of}.`)
      .meta({ examples: [['X-Debug']] }),
  })
}

const routeHost = checked(checkRouteHost)
  .describe('A name, or `*.example.com` for all names below one.')
  .meta({ pattern: HOST_LIKE })

const route = strict({
  path: checked(checkRoutePath, { regex: /^\//, expected: 'a path that begins with "/"' })
    .describe('A prefix by whole segments: `/api` (or `/api/`) is for `/api` and `/api/x`, not for `/apix`.')
    .meta({ examples: ['/api'] }),
  exact: z.boolean().default(false).describe('The route is for its path alone; the default is false.'),
  host: z
    .union([routeHost, list(routeHost, 'host')], { error: 'a host or a list of hosts' })
    .optional()
    .describe(
      'Host the route is for: a name, or `*.example.com` for all names below one; or a list of them. Without it any host.',
    )
    .meta({ examples: ['app.example.com', ['example.com', '*.example.com']] }),
  methods: list(
    checked(checkMethod, {
      regex: METHOD,
      expected: 'a method in capital letters',
    }).describe('A method in capital letters; not CONNECT or TRACE, which are never forwarded.'),
    'method',
  )
    .optional()
    .describe(
      'Methods the route is for (`GET` does not include `HEAD`); a request that matches only with others gets 405. Without it all.',
    )
    .meta({ examples: [['GET', 'HEAD']] }),
  upstream: z
    .string()
    .describe('Name of the upstream that gets the requests.')
    .meta({ examples: ['app'] }),
  auth: z
    .enum(['required', 'optional', 'none'])
    .default('required')
    .describe('`required` (the default), `optional` (a bad token counts as none), or `none`.'),
  mandates: list(z.string().min(1, { error: 'a mandate' }).describe("A mandate's id."), 'mandate')
    .optional()
    .describe('Mandates (tenants) that may use the route; others get 403.')
    .meta({ examples: [['acme']] }),
  allowedOrigins: list(
    checked(checkOrigin).describe('An origin as browsers send it.').meta({ pattern: ORIGIN_LIKE }),
    'origin',
  )
    .optional()
    .describe(
      "Origins besides the request's own whose pages may send writes and open WebSockets. Their CORS preflights pass without a token, if the route is for OPTIONS too.",
    )
    .meta({ examples: [['https://app.example.com']] }),
  loginRedirect: checked(checkLoginRedirect)
    .optional()
    .describe(
      "Where a browser's navigation is redirected instead of 401; `{path}` is the percent-encoded path and query that it asked for.",
    )
    .meta({ pattern: LOCATION_LIKE, examples: ['/login?next={path}'] }),
  refresh: z
    .enum(['auto'])
    .optional()
    .describe(
      "`auto`: a browser's navigation whose access token is missing or expired, but which has a good refresh token, passes with new tokens, and the answer sets their cookies. Needs SESSION_ENDPOINTS=on.",
    ),
  stripPrefix: z
    .boolean()
    .default(false)
    .describe("Removes the route's path from what is forwarded; the default is false."),
  forwardCookies: z
    .boolean()
    .optional()
    .describe('Whether the token cookies are forwarded. Without it only where `auth` is `none`.')
    .meta({ examples: [true] }),
  maxBodyBytes: integer(0, Number.MAX_SAFE_INTEGER)
    .optional()
    .describe('Size of the largest request body; past it 413.')
    .meta({ examples: [10485760] }),
  requestHeaders: headerEdits('request')
    .optional()
    .describe('Changes to the headers that the upstream gets.')
    .meta({ examples: [{ set: { 'X-Served-By': 'gateway' }, remove: ['X-Debug'] }] }),
  responseHeaders: headerEdits('response')
    .optional()
    .describe('Changes to the headers that the client gets.')
    .meta({ examples: [{ set: { 'X-Frame-Options': 'DENY' }, remove: ['Server'] }] }),
}).describe('Which requests the route is for, and where they go.')

/** The identity headers where the file does not name any. */
export const defaultIdentity = identity.parse({})

/** The routing file as a whole. */
export const fileSchema = strict({
  $schema: z
    .string()
    .optional()
    .describe('Address of the JSON Schema, for editors.')
    .meta({ examples: ['./upstreams.schema.json'] }),
  identity: identity.prefault({}),
  upstreams: z
    .record(matching(UPSTREAM_NAME, 'a name of letters, digits, ".", "_" and "-"'), upstream)
    .describe('The groups of targets that routes name.')
    .meta({ examples: [{ app: { targets: ['http://10.0.0.11:8000'] } }] }),
  routes: z
    .array(route)
    .describe('Which requests go where. The most specific route wins, whatever the order.')
    .meta({ examples: [[{ path: '/', upstream: 'app' }]] }),
})

export type IdentityConfig = z.output<typeof identity>
/** A route for one host: of a list in the file, each host has a route of its own. */
export type RouteConfig = Omit<z.output<typeof route>, 'host'> & {
  /** In lower case. */
  readonly host?: string
  /** Its place in the file. */
  readonly index: number
  /** Host and path as spelled in the file. Also the label of the route's metrics. */
  readonly label: string
}

/** A valid routing file with its defaults filled in. */
export interface RoutingConfig {
  readonly identity: IdentityConfig
  readonly upstreams: ReadonlyMap<string, UpstreamConfig>
  readonly routes: readonly RouteConfig[]
}

/** The JSON Schema of the routing file, in the draft that most editors support. */
export function routingJsonSchema(): z.core.JSONSchema.JSONSchema {
  const title = 'Routing file of PowerOn Gateway'
  const made = z.toJSONSchema(fileSchema, {
    io: 'input',
    target: 'draft-07',
    override({ zodSchema, jsonSchema }) {
      // zod leaves examples out where a value is transformed, because they could be examples of the result. In this
      // schema they are always examples of what stands in the file.
      const examples = z.globalRegistry.get(zodSchema)?.examples
      if (Array.isArray(examples)) jsonSchema.examples = examples
    },
  })
  return { ...made, title }
}
