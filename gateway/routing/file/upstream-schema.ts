import { z } from 'zod'
import { checkAuthority, checkServerName, checkTarget, REQUEST_PATH } from './formats.ts'
import { checked, duration, integer, list, matching, strict } from './schema-fields.ts'

/*
 * The shape of an upstream in the routing file.
 */

/*
 * Patterns for editors, for values that a function checks. They accept everything that the function accepts.
 */
const TARGET_LIKE = '^(?:[Hh][Tt][Tt][Pp][Ss]?://[^/?#@\\s]+/?|unix:/.+)$'
export const HOST_LIKE = '^(?:(?:\\*\\.)?[^\\s/:*]+|\\[[0-9A-Fa-f:.]+\\])$'
const AUTHORITY_LIKE = '^[^\\s/?#@]+$'

const targetUrl = checked(checkTarget)
  .describe('`http://host:port`, `https://host:port`, or `unix:/path/to.sock` for a socket. Without a path.')
  .meta({ pattern: TARGET_LIKE, examples: ['http://10.0.0.11:8000', 'unix:/run/app.sock'] })

const weight = integer(1, 1000)
  .default(1)
  .describe('Share of the requests, relative to the other targets; the default is 1.')

const target = z
  .union([targetUrl.transform((url) => ({ url, weight: 1 })), strict({ url: targetUrl, weight })], {
    error: 'a URL or an object',
  })
  .describe('A URL, or an object of a URL and a weight.')

const timeouts = strict({
  connect: duration('2s', 'Until a connection to a target is made.'),
  response: duration('60s', "Until the head of a target's answer has come."),
  idle: duration(
    '60s',
    'Between two parts of an answer, or of an upload that the target does not take; for WebSockets only where it is set.',
  ),
}).transform(({ connect, response, idle }) => ({ connectMs: connect, responseMs: response, idleMs: idle }))

const health = strict({
  path: matching(REQUEST_PATH, 'a path that begins with "/"')
    .describe(
      'Path (and query) to ask for, each time on a connection of its own. A status of 2xx or 3xx is good; the body is not waited for.',
    )
    .meta({ examples: ['/healthz'] }),
  interval: duration('5s', 'Between two checks of a target.'),
  timeout: duration('2s', 'Until the status of the answer, the connection included.'),
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
  duration: duration('10s', 'How long it stays out; doubled at each repeat, up to ten times.'),
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
    .meta({ examples: ['certs/file.pem'] })
}

const tls = strict({
  caFile: fileName(
    "PEM file of the authorities that sign the targets' certificates, instead of the system's.",
  ),
  serverName: checked(checkServerName)
    .optional()
    .describe("Name that the targets' certificates must be for, instead of the one in their URL.")
    .meta({ pattern: HOST_LIKE, examples: ['api.internal'] }),
  certFile: fileName("PEM file of the gateway's client certificate."),
  keyFile: fileName("PEM file of that certificate's key."),
})

export const upstream = strict({
  targets: list(target, 'target')
    .describe(
      'The origins of this upstream, which all serve the same. All addresses of a host name are used, and are looked up again after 30 seconds at the latest.',
    )
    .meta({ examples: [['http://10.0.0.11:8000', { url: 'http://10.0.0.12:8000', weight: 2 }]] }),
  balance: z
    .enum(['least-requests', 'round-robin'])
    .default('least-requests')
    .describe('How a target is chosen; the default is `least-requests`.'),
  host: z
    .union([z.enum(['preserve', 'target']), checked(checkAuthority).meta({ pattern: AUTHORITY_LIKE })], {
      error: 'preserve, target, or a host',
    })
    .default('preserve')
    .describe(
      "`Host` as targets see it: `preserve` (the default) the client's, `target` their own, or a literal one.",
    )
    .meta({ examples: ['preserve', 'target', 'app.internal'] }),
  timeouts: timeouts.prefault({}).describe('Time limits of exchanges with a target.'),
  retries: integer(0, 10)
    .default(1)
    .describe(
      'How often a request is retried at another target: an idempotent request of whose answer no byte came, or any request for which no connection came about; never after a byte of its body was sent. Beyond the first 20, at most one retry for each five requests of the upstream. What a target of HTTP/2 says it has not processed is sent again whatever this is. The default is 1.',
    ),
  maxConnections: integer(1, 65535)
    .default(128)
    .describe(
      'Connections to one target, for each worker; WebSockets have their own and do not count, and with `"protocol": "http2"` each carries as many requests as its target allows, and another one is opened where all are taken. One connection of a client gets at most seven eighths of them. The default is 128.',
    ),
  maxPending: integer(0, 1_000_000)
    .default(1024)
    .describe(
      'Requests that may wait for a connection, for each worker, at most seven eighths of them from one connection of a client; past it 503 `upstream_overloaded`. Connections of clients are served in turn. A request that waits for as long as `timeouts.response` gets 504. The default is 1024.',
    ),
  protocol: z
    .enum(['http1', 'http2'])
    .default('http1')
    .describe(
      'Protocol of the targets. With `http2`, `http:` targets have to accept it without negotiation. The default is `http1`.',
    ),
  health: health
    .optional()
    .describe('Active checks of the targets; without it there are none.')
    .meta({ examples: [{ path: '/healthz' }] }),
  ejection: ejection
    .optional()
    .describe(
      'Takes out targets whose answers fail, never the last one; without it none are. A target that comes back gets its full share over ten seconds (slow start).',
    )
    .meta({ examples: [{}] }),
  tls: tls
    .optional()
    .describe('TLS settings for `https:` targets.')
    .meta({ examples: [{ caFile: 'ca.pem' }] }),
}).describe('Targets that serve the same thing.')
