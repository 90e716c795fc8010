import * as parse from './parsers.ts'
import { count, group, milliseconds, optional, variable } from './variable.ts'

/* What clients meet: listeners, TLS, limits. */

export const surroundings = group('Surroundings', 'Whether this is production, and where the routes are.', {
  production: variable({
    name: 'NODE_ENV',
    parse: parse.production,
    byDefault: false,
    defaultShown: 'not production',
    accepts: '`production`; anything else is not',
    example: 'production',
    description:
      'With `production` a database and a key have to be named. Otherwise an embedded database and a generated key stand in for those that are not; both live in `.data/` of the working folder.',
  }),
  upstreamsFile: variable({
    name: 'UPSTREAMS_FILE',
    parse: parse.text,
    byDefault: 'upstreams.json',
    accepts: 'a file name',
    example: '/etc/poweron-gateway/upstreams.json',
    description: 'The routing file. It is watched, and read again when it changes and on SIGHUP.',
  }),
})

export const listeners = group(
  'Listeners',
  'The public listener serves clients. The admin listener serves `/metrics`, `/healthz`, `/readyz`, `/status.json` and the status page at `/`; keep it private.',
  {
    host: variable({
      name: 'HOST',
      parse: parse.text,
      byDefault: '0.0.0.0',
      accepts: 'an address or a host name',
      example: '::',
      description: 'Address of the public listener.',
    }),
    port: count('PORT', 8080, [0, 65535], 'Port of the public listener; 0 picks a free one.'),
    adminHost: variable({
      name: 'ADMIN_HOST',
      parse: parse.text,
      byDefault: '127.0.0.1',
      accepts: 'an address or a host name',
      example: '10.0.0.7',
      description: 'Address of the admin listener. It has no authentication of its own.',
    }),
    adminPort: count('ADMIN_PORT', 9090, [0, 65535], 'Port of the admin listener; 0 picks a free one.'),
    gatewayPath: variable({
      name: 'GATEWAY_PATH',
      parse: parse.pathPrefix,
      byDefault: '/-',
      accepts: 'a path of letters, digits and `-._~`',
      example: '/_gateway',
      description:
        "Prefix of the gateway's own endpoints on the public listener: `healthz`, `readyz`, `session`, `refresh` and `logout`. Routes below it are never reached.",
    }),
    trustedProxies: variable<readonly string[]>({
      name: 'TRUSTED_PROXIES',
      parse: parse.cidrs,
      byDefault: [],
      defaultShown: 'none',
      accepts: 'CIDRs or addresses, separated by commas',
      example: '10.0.0.0/8,fd00::/8',
      description:
        'The proxies in front whose `X-Forwarded-*` and `X-Request-Id` are believed. Those of all others are removed.',
    }),
  },
)

const TOGETHER = 'Both files are needed; replaced ones are picked up within two seconds.'

export const tls = group('TLS', 'With both files the public listener speaks TLS 1.2 and 1.3 only.', {
  tlsCertFile: optional({
    name: 'TLS_CERT_FILE',
    parse: parse.text,
    accepts: 'the name of a readable file',
    file: 'path',
    example: '/etc/poweron-gateway/tls.crt',
    description: `PEM file of the certificate and those between it and its authority. ${TOGETHER}`,
  }),
  tlsKeyFile: optional({
    name: 'TLS_KEY_FILE',
    parse: parse.text,
    accepts: 'the name of a readable file',
    file: 'path',
    example: '/etc/poweron-gateway/tls.key',
    description: `PEM file of the certificate's key. ${TOGETHER}`,
  }),
})

export const limits = group('Limits of clients', 'What one client, and all together, may ask for.', {
  maxHeaderBytes: count('MAX_HEADER_BYTES', 16_384, [1024, 1_048_576], {
    unit: 'bytes',
    description: "Size of a request's head; past it, and past 2,000 fields, 431.",
  }),
  headersTimeoutMs: milliseconds(
    'HEADERS_TIMEOUT_MS',
    10_000,
    [100],
    "Time for a request's head to come, and for a TLS handshake; past it 408.",
  ),
  requestTimeoutMs: milliseconds(
    'REQUEST_TIMEOUT_MS',
    300_000,
    [100],
    'Time for a whole request to come, large uploads too; past it 408. A client that takes nothing of its answer for this long is cut off.',
  ),
  keepAliveTimeoutMs: milliseconds(
    'KEEP_ALIVE_TIMEOUT_MS',
    65_000,
    [0],
    'How long a connection may be idle between requests. Longer than that of the load balancer in front.',
  ),
  maxConnections: count(
    'MAX_CONNECTIONS',
    20_000,
    [1, 1_000_000],
    'Client connections of each worker; past it new ones get 503 `overloaded`. `ulimit -n` has to exceed it by the connections to targets and some hundred more.',
  ),
})
