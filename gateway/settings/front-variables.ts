import * as parse from './parsers.ts'
import { count, group, milliseconds, onOrOff, optional, variable } from './variable.ts'

/* Settings for clients: listeners, TLS, limits. */

export const surroundings = group('Surroundings', 'Whether this is production, and where the routes are.', {
  production: variable({
    name: 'NODE_ENV',
    parse: parse.production,
    byDefault: false,
    defaultShown: 'not production',
    accepts: '`production`; anything else is not',
    example: 'production',
    description:
      'With `production` a database and a key have to be named. Otherwise an embedded database and a generated key stand in for those that are not; both live in `.data/` of the working folder. Only `serve` makes them; other commands find them there.',
  }),
  upstreamsFile: variable({
    name: 'UPSTREAMS_FILE',
    parse: parse.text,
    byDefault: 'upstreams.json',
    accepts: 'a file name',
    example: '/etc/poweron-gateway/upstreams.json',
    description: 'The routing file. It is watched, and read again when it changes and on SIGHUP.',
  }),
  errorPagesDir: optional({
    name: 'ERROR_PAGES_DIR',
    parse: parse.text,
    accepts: 'the name of a folder',
    example: '/etc/poweron-gateway/pages',
    description:
      "Folder of pages that browsers get for errors, in place of the gateway's own: `CODE.html`, `STATUS.html` or `error.html`, with `{{status}}`, `{{code}}`, `{{title}}` and `{{requestId}}`. It is watched, and read again on SIGHUP ([error-pages.md](error-pages.md)).",
  }),
})

export const listeners = group(
  'Listeners',
  'The public listener serves clients. The admin listener serves `/metrics`, `/healthz`, `/readyz`, `/status.json`, the status page at `/`, and `POST /explain` for the command `explain --admin`; keep it private.',
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
    adminAllowedHosts: variable<readonly string[]>({
      name: 'ADMIN_ALLOWED_HOSTS',
      parse: parse.hostNames,
      byDefault: [],
      defaultShown: 'none',
      accepts: 'host names, or `*.` and the end of some, separated by commas',
      example: 'gateway.ops.example.com,*.admin.example.com',
      description:
        'Public names under which browsers may open the admin listener. Addresses, `localhost`, names without a dot, and those in `.svc`, `.local` and `.internal` always may; programs, such as Prometheus, may under any name.',
    }),
    adminPort: count('ADMIN_PORT', 9090, [0, 65535], 'Port of the admin listener; 0 picks a free one.'),
    gatewayPath: variable({
      name: 'GATEWAY_PATH',
      parse: parse.pathPrefix,
      byDefault: '/-',
      accepts: 'a path of letters, digits and `-._~`',
      example: '/_gateway',
      description:
        "Prefix of the gateway's own endpoints on the public listener: `healthz`, `readyz`, `session`, `refresh` and `logout`. All other paths below it are routed.",
    }),
    trustedProxies: variable<readonly string[]>({
      name: 'TRUSTED_PROXIES',
      parse: parse.cidrs,
      byDefault: [],
      defaultShown: 'none',
      accepts: 'CIDRs or addresses, separated by commas',
      example: '10.0.0.0/8,fd00::/8',
      description:
        'The proxies in front whose `X-Forwarded-*`, `Forwarded` and `X-Request-Id` are believed. Those of all others are removed.',
    }),
    proxyProtocol: onOrOff(
      'PROXY_PROTOCOL',
      false,
      'With `on` every connection from one of `TRUSTED_PROXIES` has to begin with a header of the PROXY protocol, version 1 or 2, and is served as that of the client it names.',
    ),
  },
)

const TOGETHER = 'Both files are needed; replaced ones are picked up within two seconds.'

export const tls = group(
  'TLS',
  'With a certificate the public listener speaks TLS 1.2 and 1.3 only, HTTP/2 and HTTP/1.1 by ALPN.',
  {
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
    tlsCertDir: optional({
      name: 'TLS_CERT_DIR',
      parse: parse.text,
      accepts: 'the name of a folder',
      example: '/etc/poweron-gateway/certificates',
      description:
        'Folder of further certificates, chosen by the host that a client names (SNI): `NAME.crt` with `NAME.key`, or `NAME.pem` with the key in it, or folders of such. The one of `TLS_CERT_FILE`, else one named `default`, else the first is for the rest. The folder is watched.',
    }),
    tlsTicketSecret: optional({
      name: 'TLS_TICKET_SECRET',
      parse: parse.secret,
      accepts: 'at least 32 bytes',
      secret: true,
      file: 'or',
      description:
        'The keys of session tickets are derived from it. Instances that share it resume TLS sessions of each other; without it only the processes of one instance do, until it ends.',
    }),
    httpRedirectPort: optional({
      name: 'HTTP_REDIRECT_PORT',
      parse: parse.integer(0, 65535),
      accepts: 'a whole number from 0 to 65535',
      example: '80',
      description:
        'Port of a second listener, for plain HTTP, that redirects to `https:` with 308. It also answers `healthz` and `readyz`. 0 picks a free one.',
    }),
    httpRedirectToPort: optional({
      name: 'HTTP_REDIRECT_TO_PORT',
      parse: parse.integer(1, 65535),
      accepts: 'a whole number from 1 to 65535',
      example: '443',
      description:
        'Port that the redirect names. Where it is not set: none for clients whose `Host` has none, else `PORT`.',
    }),
    hstsMaxAgeS: count('HSTS_MAX_AGE_S', 0, [0, 315_360_000], {
      unit: 's',
      example: '31536000',
      defaultShown: '`0` (off)',
      description:
        "With more than 0 every answer to a client that speaks HTTPS has `Strict-Transport-Security` with this `max-age`, in place of an upstream's.",
    }),
    hstsIncludeSubdomains: onOrOff('HSTS_INCLUDE_SUBDOMAINS', false, 'Adds `includeSubDomains` to it.'),
    hstsPreload: onOrOff(
      'HSTS_PRELOAD',
      false,
      'Adds `preload` to it, which asks browsers to include the rule. It needs a year and `HSTS_INCLUDE_SUBDOMAINS`.',
    ),
  },
)

export const limits = group('Limits of clients', 'Limits of each client, and of all clients together.', {
  maxHeaderBytes: count('MAX_HEADER_BYTES', 16_384, [1024, 1_048_576], {
    unit: 'bytes',
    description: "Size of a request's head; past it, and past 2,000 fields, 431.",
  }),
  headersTimeoutMs: milliseconds(
    'HEADERS_TIMEOUT_MS',
    10_000,
    [100],
    "Time for a TLS handshake, and with HTTP/1.1 for a request's head to come, where REQUEST_TIMEOUT_MS is not shorter; past it 408.",
  ),
  requestTimeoutMs: milliseconds(
    'REQUEST_TIMEOUT_MS',
    300_000,
    [100],
    'Time for a whole request to come, large uploads too; past it 408. A client that reads nothing of its answer for this long is disconnected.',
  ),
  keepAliveTimeoutMs: milliseconds(
    'KEEP_ALIVE_TIMEOUT_MS',
    65_000,
    [0],
    'How long a connection may be idle between requests; 0 is for ever. Longer than that of the load balancer in front.',
  ),
  http2MaxStreams: count(
    'HTTP2_MAX_STREAMS',
    128,
    [1, 10_000],
    'Streams that a client may have open on one connection of HTTP/2. Further ones are refused as not processed (REFUSED_STREAM); a client that opens more although it has confirmed the limit is disconnected.',
  ),
  maxConnections: count(
    'MAX_CONNECTIONS',
    20_000,
    [1, 1_000_000],
    'Client connections of each worker; past it new ones get 503 `overloaded`. `ulimit -n` has to exceed it by the connections to targets and some hundred more.',
  ),
})
