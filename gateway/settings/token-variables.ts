import {
  DEFAULT_COLUMNS,
  parseTokenColumns,
  parseTokenTable,
  type TableName,
} from '../auth/token-store/token-columns.ts'
import { DEFAULT_STATUSES, parseTokenStatuses } from '../auth/token-store/token-statuses.ts'
import * as parse from './parsers.ts'
import { count, group, milliseconds, onOrOff, optional, variable } from './variable.ts'

/* What decides about a request: the token table, keys, cookies, open streams. */

export const database = group('Database', 'Where the token table is, and how it is queried.', {
  databaseUrl: optional({
    name: 'DATABASE_URL',
    parse: parse.databaseUrl,
    accepts:
      '`postgres://user:password@host:port/database`, the password percent-encoded; several hosts are separated by commas',
    secret: true,
    file: 'or',
    defaultShown: 'the embedded database; none in production',
    example: 'postgres://poweron_gateway:…@db-a,db-b/app?sslmode=verify-full',
    description:
      'The PostgreSQL database. Of several hosts the primary is found, after a failover too; `sslmode` is `disable` (the default: nothing is encrypted), `prefer`, `require`, `verify-ca` or `verify-full`. A certificate authority of your own goes into the file that `NODE_EXTRA_CA_CERTS` names, which Node reads at the start.',
  }),
  databasePoolSize: count('DATABASE_POOL_SIZE', 4, [1, 100], 'Connections of each worker.'),
  databasePrepare: variable({
    name: 'DATABASE_PREPARE',
    parse: parse.trueOrFalse,
    byDefault: true,
    defaultShown: 'true',
    accepts: '`true` or `false`',
    example: 'false',
    description:
      'Whether statements are prepared. `false` behind PgBouncer before 1.21 in transaction mode, which loses prepared ones.',
  }),
  lookupTimeoutMs: milliseconds(
    'LOOKUP_TIMEOUT_MS',
    1000,
    [10, 60_000],
    'Deadline of one token look-up, waiting included; past it 503 `token_store_unavailable`.',
  ),
  lookupQueueMax: count(
    'LOOKUP_QUEUE_MAX',
    10_000,
    [1, 1_000_000],
    'Look-ups of each worker that are not yet answered, sent or not, at most seven eighths of them for one connection of a client; past it 503 `overloaded` at once.',
  ),
  tokenTable: variable<TableName>({
    name: 'TOKEN_TABLE',
    parse: parseTokenTable,
    byDefault: { schema: null, name: 'Token' },
    defaultShown: '"Token"',
    accepts: 'a name as PostgreSQL quotes it, with or without a schema',
    example: 'auth.tokens',
    description: 'The token table. Names without double quotes are lower case, as in SQL.',
  }),
  tokenColumns: variable({
    name: 'TOKEN_COLUMNS',
    parse: parseTokenColumns,
    byDefault: DEFAULT_COLUMNS,
    defaultShown: 'the same names',
    accepts: `\`column=name\` for some of ${Object.keys(DEFAULT_COLUMNS)
      .map((name) => `\`${name}\``)
      .join(', ')}, separated by commas`,
    example: 'id=jti,userId=user_id,expiresAt=expires_at',
    description: "The columns' names where they are others. Columns that are not named keep theirs.",
  }),
  tokenStatuses: variable({
    name: 'TOKEN_STATUSES',
    parse: parseTokenStatuses,
    byDefault: DEFAULT_STATUSES,
    defaultShown: 'ACTIVE,REVOKED',
    accepts: 'two different statuses, separated by a comma',
    example: 'true,false',
    description:
      'The status that admits, and the one that the gateway writes when it revokes; every other one refuses. Where a boolean says that a token is good, `true,false`; where it says that it is revoked, `false,true`; numbers where the column is an integer.',
  }),
})

const ONE_KEY = 'Exactly one of the four variables for keys is set.'

export const keys = group(
  'Keys and claims',
  'How access tokens have to be signed, and which claims they need. Exactly one of the first four is set.',
  {
    jwtSecret: optional({
      name: 'JWT_SECRET',
      parse: parse.text,
      accepts: 'at least 32 bytes',
      secret: true,
      defaultShown: 'a generated one; none in production',
      description: `HMAC secret, for HS256 unless \`JWT_ALGORITHMS\` says otherwise. Each byte counts: white space or quotes around it are part of it, with a warning. ${ONE_KEY}`,
    }),
    jwtSecretFile: optional({
      name: 'JWT_SECRET_FILE',
      parse: parse.text,
      accepts: 'the name of a readable file with at least 32 bytes in each line',
      file: 'path',
      example: '/run/secrets/jwt',
      description: `File of HMAC secrets, one a line and at most 100: the first one signs, all verify. Empty lines do not count. A file that is not UTF-8 text is one secret of random bytes, without line breaks at its end. A changed file is picked up. ${ONE_KEY}`,
    }),
    jwtPublicKeyFile: optional({
      name: 'JWT_PUBLIC_KEY_FILE',
      parse: parse.text,
      accepts: 'the name of a readable file',
      file: 'path',
      example: '/etc/poweron-gateway/jwt.pem',
      description: `File of public keys, at most 100: PEM (public keys and certificates), JWK or JWKS, for RS256, PS256, ES256, ES384, ES512 or EdDSA by their kind. A key that cannot be used is passed over with a warning as long as another one can be. A changed file is picked up. ${ONE_KEY}`,
    }),
    jwtJwksUrl: optional({
      name: 'JWT_JWKS_URL',
      parse: parse.httpUrl,
      accepts: 'an `http:` or `https:` URL without user and password',
      secret: true,
      example: 'https://issuer.example.com/.well-known/jwks.json',
      description: `URL of a key set. It is fetched again for an unknown \`kid\`, and the last good one is kept. A key that cannot be used is ignored with a warning. Certificates are checked, whatever \`NODE_TLS_REJECT_UNAUTHORIZED\` says. ${ONE_KEY}`,
    }),
    jwtAlgorithms: optional({
      name: 'JWT_ALGORITHMS',
      parse: parse.list,
      defaultShown: 'by the key',
      accepts: 'algorithms that fit the key, separated by commas',
      example: 'HS512',
      description:
        'The algorithms that are accepted. `none` never is, nor an HMAC with public keys, nor a signature with a secret.',
    }),
    jwtIssuer: optional({
      name: 'JWT_ISSUER',
      parse: parse.text,
      accepts: 'a text',
      example: 'https://issuer.example.com',
      description: 'What `iss` has to be. Not checked where it is not set, and then not in refreshed tokens.',
    }),
    jwtAudience: optional({
      name: 'JWT_AUDIENCE',
      parse: parse.text,
      accepts: 'a text',
      example: 'app',
      description: 'What `aud` has to be or contain. Not checked where it is not set.',
    }),
    jwtClockToleranceS: count('JWT_CLOCK_TOLERANCE_S', 0, [0, 3600], {
      unit: 's',
      description: "How far `exp` and `nbf` may be off the gateway's clock.",
    }),
  },
)

const AS_THE_LOGIN = 'As the login sets it.'

export const cookies = group(
  'Cookies',
  'Where browsers keep the tokens. The attributes are those of the cookies that refresh sets and logout clears; they have to be those with which the login sets them ([login.md](login.md)).',
  {
    accessCookie: variable({
      name: 'ACCESS_COOKIE',
      parse: parse.cookieName,
      byDefault: 'auth_token',
      accepts: 'a cookie name',
      example: '__Host-auth',
      description: 'Name of the cookie with the access token.',
    }),
    refreshCookie: variable({
      name: 'REFRESH_COOKIE',
      parse: parse.cookieName,
      byDefault: 'refresh_token',
      accepts: 'a cookie name',
      example: '__Host-refresh',
      description: 'Name of the cookie with the refresh token; another one than `ACCESS_COOKIE`.',
    }),
    cookieSameSite: variable({
      name: 'COOKIE_SAME_SITE',
      parse: parse.sameSite,
      byDefault: 'strict',
      accepts: '`strict`, `lax` or `none`',
      example: 'lax',
      description: `\`SameSite\` of the cookies. With \`strict\` a link on another site, or in a mail, opens the page without them; with \`none\`, which adds \`Secure\`, other sites can send them from frames and scripts too. ${AS_THE_LOGIN}`,
    }),
    cookieDomain: optional({
      name: 'COOKIE_DOMAIN',
      parse: parse.cookieDomain,
      accepts: 'a domain, without scheme, port and path',
      example: 'example.com',
      description: `\`Domain\` of the cookies: the host names to which browsers send them are this one and all below it. Without it, only the one that set them. ${AS_THE_LOGIN}`,
    }),
    cookiePersistent: onOrOff(
      'COOKIE_PERSISTENT',
      false,
      `With \`on\` the cookies have a \`Max-Age\`, \`ACCESS_TOKEN_TTL_S\` and \`REFRESH_TOKEN_TTL_S\`, and so outlive a browser that is closed. ${AS_THE_LOGIN}`,
    ),
  },
)

export const refusals = group(
  'Cache of refusals',
  'Off by default. Admissions and faults are never cached, and only tokens with a good signature enter.',
  {
    negativeCacheTtlUs: count('NEGATIVE_CACHE_TTL_US', 0, [0, 3_600_000_000], {
      unit: 'µs',
      defaultShown: '0 (off)',
      example: '500000',
      description:
        'How long a refusal by the table (unknown, revoked, expired) may be repeated without asking, in **micro**seconds.',
    }),
    negativeCacheMax: count('NEGATIVE_CACHE_MAX', 100_000, [1, 10_000_000], 'Its entries, at most.'),
  },
)

export const sessions = group('Sessions', 'Refresh and logout by the gateway itself.', {
  sessionEndpoints: onOrOff(
    'SESSION_ENDPOINTS',
    false,
    '`on` serves `POST /-/refresh` and `POST /-/logout`. It needs a signing secret, and INSERT and UPDATE on the token table.',
  ),
  accessTokenTtlS: count('ACCESS_TOKEN_TTL_S', 900, [1, 31_536_000], {
    unit: 's',
    description: 'Lifetime of the access tokens that refresh makes; the same on every instance.',
  }),
  refreshTokenTtlS: count('REFRESH_TOKEN_TTL_S', 604_800, [1, 315_360_000], {
    unit: 's',
    description: 'Lifetime of the refresh tokens that refresh makes; the same on every instance.',
  }),
})

export const streams = group(
  'Open exchanges',
  'WebSockets, server-sent events and every other exchange still open end with their token.',
  {
    streamRecheckMs: milliseconds(
      'STREAM_RECHECK_MS',
      5000,
      [0],
      'How often each open exchange is looked up again; it ends when its token was revoked, has expired or belongs to another. 0 is never.',
    ),
    streamFaultGraceMs: milliseconds(
      'STREAM_FAULT_GRACE_MS',
      300_000,
      [0],
      'How long an exchange may stay open while it cannot be looked up again. 0 is for ever.',
    ),
    revocationChannel: optional({
      name: 'REVOCATION_CHANNEL',
      parse: parse.channel,
      accepts: 'a name of at most 63 bytes',
      example: 'token_revoked',
      description:
        "Channel for LISTEN whose payload is a token's id: its open exchanges end at once. `poweron-gateway schema` prints the trigger that sends it.",
    }),
  },
)
