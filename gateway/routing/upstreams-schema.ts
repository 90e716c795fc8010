import { z } from 'zod'
import {
  checkAuthority,
  checkEditedName,
  checkHostname,
  checkIdentityName,
  checkLoginRedirect,
  checkOrigin,
  checkRouteHost,
  checkRoutePath,
  checkTarget,
  FIELD_NAME,
  FIELD_VALUE,
  METHOD,
  REQUEST_PATH,
  UPSTREAM_NAME,
} from './formats.ts'
import { checked, duration, integer, list, matching, strict } from './schema-fields.ts'

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
  'Headers that tell upstreams who asks. Clients cannot send them: whatever reads the same once letters are ' +
    'lower-cased and other characters are read as `-` is removed from every request.',
)

const targetUrl = checked(checkTarget).describe(
  '`http://host:port`, `https://host:port`, or `unix:/path/to.sock` for a socket. Without a path.',
)

const weight = integer(1, 1000)
  .default(1)
  .describe('Share of the requests, relative to the other targets; the default is 1.')

const target = z.union(
  [targetUrl.transform((url) => ({ url, weight: 1 })), strict({ url: targetUrl, weight })],
  {
    error: 'a URL or an object',
  },
)

const timeouts = strict({
  connect: duration('2s', 'For a connection to a target to be made.'),
  response: duration('60s', "Until the head of a target's answer has come."),
  idle: duration('60s', 'Between two parts of an answer.'),
}).transform(({ connect, response, idle }) => ({ connectMs: connect, responseMs: response, idleMs: idle }))

const health = strict({
  path: matching(REQUEST_PATH, 'a path that begins with "/"').describe(
    'Path (and query) to ask for. An answer of 2xx or 3xx is a good one.',
  ),
  interval: duration('5s', 'Between two checks of a target.'),
  timeout: duration('2s', 'For the answer.'),
  healthyAfter: integer(1, 100)
    .default(2)
    .describe('Good checks in a row that bring a target back; the default is 2.'),
  unhealthyAfter: integer(1, 100)
    .default(3)
    .describe('Bad checks in a row that take a target out; the default is 3.'),
}).transform(({ interval, timeout, ...rest }) => ({ ...rest, intervalMs: interval, timeoutMs: timeout }))

const ejection = strict({
  consecutiveFailures: integer(1, 1000)
    .default(5)
    .describe(
      'Failures in a row that take a target out: refused and reset connections, time-outs, 502, 503 and 504. ' +
        'The default is 5.',
    ),
  duration: duration('10s', 'How long it stays out.'),
  maxPercent: integer(1, 100)
    .default(50)
    .describe(
      "Share of the upstream's targets that may be out at once, never the last one; the default is 50.",
    ),
}).transform(({ duration, ...rest }) => ({ ...rest, durationMs: duration }))

function fileName(description: string) {
  return matching(/^[^\0]+$/, 'a file name')
    .optional()
    .describe(`${description} Relative names are relative to the routing file.`)
}

const tls = strict({
  caFile: fileName("PEM file of the authorities that may vouch for the targets, instead of the system's."),
  serverName: checked(checkHostname)
    .optional()
    .describe("Name that the targets' certificates must be for, instead of the one in their URL."),
  certFile: fileName('PEM file of the certificate that the gateway shows.'),
  keyFile: fileName("PEM file of that certificate's key."),
})

const upstream = strict({
  targets: list(target, 'target').describe('The origins that serve this upstream, all the same thing.'),
  balance: z
    .enum(['least-requests', 'round-robin'])
    .default('least-requests')
    .describe('How a target is chosen; the default is `least-requests`.'),
  host: z
    .union([z.enum(['preserve', 'target']), checked(checkAuthority)], {
      error: 'preserve, target, or a host',
    })
    .default('preserve')
    .describe(
      "`Host` as targets see it: `preserve` (the default) the client's, `target` their own, or a literal one.",
    ),
  timeouts: timeouts.prefault({}).describe('Time limits of exchanges with a target.'),
  retries: integer(0, 10)
    .default(1)
    .describe('How often a request that may be repeated is tried at another target; the default is 1.'),
  maxConnections: integer(1, 65535)
    .default(128)
    .describe('Connections to one target, for each worker; the default is 128.'),
  maxPending: integer(0, 1_000_000)
    .default(1024)
    .describe('Requests that may wait for a connection, for each worker; past it 503. The default is 1024.'),
  protocol: z
    .enum(['http1', 'http2'])
    .default('http1')
    .describe('What targets speak; `http2` needs no negotiation on `http:`. The default is `http1`.'),
  health: health.optional().describe('Active checks of the targets; without it there are none.'),
  ejection: ejection.optional().describe('Takes out targets whose answers fail; without it none are.'),
  tls: tls.optional().describe('How `https:` targets are spoken to.'),
})

function headerEdits(of: 'request' | 'response') {
  const name = checked((value) => checkEditedName(value, of), A_HEADER_NAME)
  const value = matching(FIELD_VALUE, 'printable ASCII without spaces at its ends')
  return strict({
    set: z
      .record(name, value)
      .optional()
      .describe(`Headers that are added to the ${of}, each instead of those of its name that are there.`),
    remove: z.array(name).optional().describe(`Names of headers that are removed from the ${of}.`),
  })
}

const route = strict({
  path: checked(checkRoutePath, { regex: /^\//, expected: 'a path that begins with "/"' }).describe(
    'A prefix by whole segments: `/api` (or `/api/`) is for `/api` and `/api/x`, not for `/apix`.',
  ),
  exact: z.boolean().default(false).describe('The route is for its path alone; the default is false.'),
  host: checked(checkRouteHost)
    .optional()
    .describe(
      'Host the route is for: a name, or `*.example.com` for all names below one. Without it any host.',
    ),
  methods: list(
    checked((method) => (/^(?:CONNECT|TRACE)$/.test(method) ? 'a method that is forwarded' : null), {
      regex: METHOD,
      expected: 'a method in capital letters',
    }),
    'method',
  )
    .optional()
    .describe('Methods the route is for (`GET` does not include `HEAD`). Without it all.'),
  upstream: z.string().describe('Name of the upstream that gets the requests.'),
  auth: z
    .enum(['required', 'optional', 'none'])
    .default('required')
    .describe('`required` (the default), `optional` (a bad token is as no token), or `none`.'),
  mandates: list(z.string().min(1, { error: 'a mandate' }), 'mandate')
    .optional()
    .describe('Mandates (tenants) that may use the route; others get 403.'),
  allowedOrigins: list(checked(checkOrigin), 'origin')
    .optional()
    .describe('Origins, besides the own one, whose pages may send writes and open WebSockets.'),
  loginRedirect: checked(checkLoginRedirect)
    .optional()
    .describe(
      "Where a browser's navigation is sent instead of 401; `{path}` is where it wanted to go, escaped.",
    ),
  refresh: z
    .enum(['auto'])
    .optional()
    .describe(
      "`auto`: a browser's navigation without a good access token any more (none, or an expired one) but with a good refresh token is let through with new ones, and the answer carries their cookies. Needs SESSION_ENDPOINTS=on.",
    ),
  stripPrefix: z
    .boolean()
    .default(false)
    .describe("Removes the route's path from what is forwarded; the default is false."),
  forwardCookies: z
    .boolean()
    .optional()
    .describe('Whether the token cookies are forwarded. Without it only where `auth` is `none`.'),
  maxBodyBytes: integer(0, Number.MAX_SAFE_INTEGER)
    .optional()
    .describe('Size of the largest request body; past it 413.'),
  requestHeaders: headerEdits('request')
    .optional()
    .describe('Changes to the headers that the upstream gets.'),
  responseHeaders: headerEdits('response')
    .optional()
    .describe('Changes to the headers that the client gets.'),
})

/** The identity headers of a file that names none. */
export const defaultIdentity = identity.parse({})

/** The routing file as a whole. */
export const fileSchema = strict({
  $schema: z.string().optional().describe('Address of the JSON Schema, for editors.'),
  identity: identity.prefault({}),
  upstreams: z
    .record(matching(UPSTREAM_NAME, 'a name of letters, digits, ".", "_" and "-"'), upstream)
    .describe('The groups of targets that routes name.'),
  routes: z
    .array(route)
    .describe('Which requests go where. The most specific route wins, whatever the order.'),
})

export type IdentityConfig = z.output<typeof identity>
/** File names are absolute. */
export type UpstreamConfig = z.output<typeof upstream>

export type RouteConfig = z.output<typeof route> & {
  /** Host and path as the file has them; the label of the route's metrics. */
  readonly label: string
}

/** A valid routing file with its defaults filled in. */
export interface UpstreamsConfig {
  readonly identity: IdentityConfig
  readonly upstreams: ReadonlyMap<string, UpstreamConfig>
  readonly routes: readonly RouteConfig[]
}

/** The JSON Schema of the routing file, in the draft that editors know best. */
export function upstreamsJsonSchema(): object {
  const title = 'Routing file of PowerOn Gateway'
  return { ...z.toJSONSchema(fileSchema, { io: 'input', target: 'draft-07' }), title }
}
