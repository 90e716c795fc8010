import t from 'tap'
import { describeFault, describeKeyFault } from '../../../gateway/auth/token-store/token-store-faults.ts'
import { GatewayError } from '../../../gateway/core/errors.ts'
import { DatabaseError } from '../../../gateway/database/database.ts'

const CONTEXT = { table: '"Token"', timeoutMs: 999.8437 }

/** As the database's connections report it, the error itself below. */
function failed(code: string, message = ''): DatabaseError {
  const error = new DatabaseError(code, `the database did not answer the query (${code})`, { stale: false })
  return message === '' ? error : Object.assign(error, { cause: Object.assign(new Error(message), { code }) })
}

const causeOf = (code: string, message = '') => describeFault(failed(code, message), CONTEXT).cause

/** For each code and message the expected problem and remedy. */
const CASES: readonly (readonly [string, string, RegExp, RegExp])[] = [
  ['DEADLINE', '', /no answer within 1000 ms \(DEADLINE\)/, /look for locks/],
  ['BUSY', '', /no connection to the database became free within 1000 ms/, /locks/],
  ['55P03', 'canceling statement due to lock timeout', /table "Token" is locked/, /pg_locks/],
  ['STANDBY', '', /in recovery \(a standby\)/, /promote/],
  [
    'FENCED',
    '',
    /a primary that was replaced: another one has a newer timeline \(FENCED\)/,
    /restart the gateways/,
  ],
  ['REPLACED', '', /another server has taken over \(REPLACED\)/, /no action/],
  ['MAPPING', '', /does not fit the mapping/, /TOKEN_COLUMNS/],
  ['TLS_UNAVAILABLE', '', /offers no TLS, which sslmode in DATABASE_URL asks for/, /sslmode=disable/],
  [
    'SELF_SIGNED_CERT_IN_CHAIN',
    'self-signed certificate in certificate chain',
    /not signed by an authority/,
    /NODE_EXTRA_CA_CERTS to a PEM file with the certificate of the authority/,
  ],
  [
    'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
    'unable to verify the first certificate',
    /not signed by an authority/,
    /NODE_EXTRA_CA_CERTS/,
  ],
  [
    'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
    'unable to get local issuer certificate',
    /not signed by an authority/,
    /NODE_EXTRA_CA_CERTS/,
  ],
  [
    'DEPTH_ZERO_SELF_SIGNED_CERT',
    'self-signed certificate',
    /signed by itself/,
    /NODE_EXTRA_CA_CERTS to a PEM file with this very certificate/,
  ],
  ['CERT_HAS_EXPIRED', 'certificate has expired', /has expired/, /renew/],
  [
    'ERR_TLS_CERT_ALTNAME_INVALID',
    "Host: db. is not in the cert's altnames: DNS:other",
    /for another name than the host in DATABASE_URL .*DNS:other/,
    /get a certificate/,
  ],
  ['ERR_SSL_WRONG_VERSION_NUMBER', 'wrong version number', /TLS handshake/, /TLS versions/],
  [
    'ENOTFOUND',
    'getaddrinfo ENOTFOUND db.internal',
    /no address is known .*db\.internal/,
    /correct the name/,
  ],
  ['EAI_AGAIN', 'getaddrinfo EAI_AGAIN db.internal', /resolver does not answer/, /resolver/],
  [
    'ECONNREFUSED',
    'connect ECONNREFUSED 10.0.0.7:5432',
    /nothing accepts connections .*10\.0\.0\.7:5432/,
    /start the database server/,
  ],
  ['ETIMEDOUT', 'connect ETIMEDOUT 10.0.0.7:5432', /cannot be reached/, /firewalls/],
  ['EHOSTUNREACH', 'connect EHOSTUNREACH 10.0.0.7:5432', /cannot be reached/, /network/],
  ['ECONNRESET', 'read ECONNRESET', /broken off/, /log/],
  ['EMFILE', 'too many open files', /no file descriptor/, /ulimit -n/],
  [
    '28P01',
    'password authentication failed for user "app"',
    /does not accept the password .*"app"/,
    /correct the password/,
  ],
  ['28000', 'role "app" is not permitted to log in', /NOLOGIN/, /ALTER ROLE … LOGIN/],
  [
    '28000',
    'no pg_hba.conf entry for host "10.0.0.1", user "app", database "a", no encryption',
    /pg_hba\.conf.*without TLS: see sslmode/,
    /add a line/,
  ],
  ['28000', 'role "app" does not exist', /no such role/, /schema/],
  ['3D000', 'database "a" does not exist', /no such database/, /name of the database/],
  ['53300', 'sorry, too many clients already', /max_connections/, /pg_stat_activity/],
  [
    '53300',
    'too many connections for role "app"',
    /role of DATABASE_URL has no free connection slot/,
    /ALTER ROLE … CONNECTION LIMIT/,
  ],
  [
    '53300',
    'too many connections for database "a"',
    /the database has no free connection slot/,
    /ALTER DATABASE … CONNECTION LIMIT/,
  ],
  [
    '42501',
    'permission denied for table Token',
    /no right to read the token table "Token"/,
    /GRANT SELECT on "Token"/,
  ],
  ['42501', 'permission denied for schema auth', /no right to read/, /GRANT USAGE on its schema/],
  ['42P01', 'relation "Token" does not exist', /does not exist/, /TOKEN_TABLE/],
  ['57P01', 'terminating connection due to administrator command', /stopping/, /start it again/],
  ['57P03', 'the database system is starting up', /starting up/, /wait/],
  ['57P03', 'the database system is shutting down', /is stopping/, /start it again/],
  ['25006', 'cannot execute SELECT FOR UPDATE in a read-only transaction', /read only/, /primary/],
  ['08P01', 'no more connections allowed (max_client_conn)', /pooler .* no free connection slot/, /raise it/],
  ['08P01', 'query_wait_timeout', /all busy/, /default_pool_size/],
  [
    '53100',
    'could not extend file: No space left on device',
    /run out of something/,
    /give it what it lacks/,
  ],
  [
    '23502',
    'null value in column "updatedAt"',
    /does not accept a value .*updatedAt/,
    /columns and constraints/,
  ],
  ['overloaded', '', /too many look-ups wait/, /more slowly/],
  ['XX000', 'something odd', /could not be queried \(XX000: something odd\)/, /log/],
]

for (const [code, message, problem, remedy] of CASES) {
  t.test(`${code} ${message} is described with the problem, the code and a remedy`, async (t) => {
    const [first, ...rest] = causeOf(code, message).split('; ')
    t.match(first, problem)
    t.match(first, code)
    t.match(rest.join('; '), remedy)
  })
}

t.test('faults with different remedies have different kinds', async (t) => {
  const kindOf = (code: string, message = '') => describeFault(failed(code, message), CONTEXT).kind
  const kinds = [
    kindOf('DEADLINE'),
    kindOf('28P01'),
    kindOf('42501', 'permission denied for table Token'),
    kindOf('53300', 'sorry, too many clients already'),
    kindOf('53300', 'too many connections for role "app"'),
    kindOf('SELF_SIGNED_CERT_IN_CHAIN'),
    kindOf('CERT_HAS_EXPIRED'),
    kindOf('TLS_UNAVAILABLE'),
    kindOf('ECONNREFUSED'),
    kindOf('ENOTFOUND'),
    kindOf('3D000'),
    kindOf('57P03'),
    kindOf('25006'),
    kindOf('STANDBY'),
  ]
  t.equal(new Set(kinds).size, kinds.length)
})

t.test("the reason is below the gateway's own error; a look-up that only waited was late", async (t) => {
  const wrap = (cause?: unknown) => new GatewayError('token_store_unavailable', 'no', { cause })
  t.match(describeFault(wrap(failed('28P01')), CONTEXT), { code: '28P01', kind: 'password' })
  t.match(describeFault(wrap(wrap(failed('28P01'))), CONTEXT), { code: '28P01' })
  t.match(describeFault(new GatewayError('token_store_unavailable', 'no'), CONTEXT), { code: 'DEADLINE' })
  t.match(describeFault(new GatewayError('overloaded', 'no'), CONTEXT), { code: 'overloaded' })
})

t.test('with several addresses the failure of the first one is described', async (t) => {
  const cause = new AggregateError([new Error('connect ECONNREFUSED ::1:5432'), new Error('other')])
  const error = Object.assign(failed('ECONNREFUSED'), { cause })
  t.match(describeFault(error, CONTEXT).cause, '(ECONNREFUSED: connect ECONNREFUSED ::1:5432)')
})

t.test('a description has no URL, no line break and no fraction of a millisecond', async (t) => {
  const text = causeOf('XX000', 'postgres://app:secret@db/a\nfailed after 999.8437 ms')
  t.notMatch(text, /secret|\n|999\.8/)
  t.match(text, /failed after 999 ms/)
  t.ok(causeOf('XX000', 'x'.repeat(5000)).length < 500)
})

t.test('a missing key set is described as a fault of the keys', async (t) => {
  const cause = new Error('no key set was fetched yet', { cause: new Error('fetch failed') })
  const error = new GatewayError('token_store_unavailable', 'there is no key to verify tokens with', {
    cause,
  })
  t.match(describeKeyFault(error), {
    kind: 'keys',
    cause:
      /^there is no key to verify tokens with: no key set was fetched yet: fetch failed; look at the key file/,
  })
})
