import type { FaultContext, Words, WordsOf } from './fault-description.ts'

const UNTRUSTED: Words = {
  kind: 'certificate-untrusted',
  wrong: "the database server's certificate is not signed by an authority that this process trusts",
  remedy:
    'set NODE_EXTRA_CA_CERTS to a PEM file with the certificate of the authority that signed it, and restart the gateway',
}

const SELF_SIGNED: Words = {
  kind: 'certificate-untrusted',
  wrong: "the database server's certificate is signed by itself and not trusted by this process",
  remedy: 'set NODE_EXTRA_CA_CERTS to a PEM file with this very certificate, and restart the gateway',
}

const NO_TLS: Words = {
  kind: 'tls-unavailable',
  wrong: 'the database server offers no TLS, which sslmode in DATABASE_URL asks for',
  remedy: 'turn TLS on at the server, or write sslmode=disable where the network in between is trusted',
}

const HANDSHAKE: Words = {
  kind: 'tls-handshake',
  wrong: 'the TLS handshake with the database server failed',
  remedy: 'look at the TLS versions that the server accepts, and whether DATABASE_URL leads to PostgreSQL',
}

const NO_HOST: Words = {
  kind: 'host-unknown',
  wrong: 'no address is known for the host in DATABASE_URL',
  remedy: 'correct the name, or the resolver that this machine asks',
}

const UNREACHABLE: Words = {
  kind: 'unreachable',
  wrong: "the database server's address cannot be reached",
  remedy: 'look at the network and the firewalls between, and at the host and port in DATABASE_URL',
}

const REFUSED: Words = {
  kind: 'refused',
  wrong: 'nothing accepts connections at the host and port of DATABASE_URL',
  remedy: 'start the database server, or correct DATABASE_URL',
}

const BROKEN: Words = {
  kind: 'broken',
  wrong: 'the connection to the database server was broken off',
  remedy: "look at the server's log, and at what lies between and closes connections",
}

const OWN_LIMIT: Words = {
  kind: 'own-limit',
  wrong: 'this machine has no file descriptor or local port left for a connection to the database',
  remedy: 'raise ulimit -n, or end what uses them up',
}

/** The database, or what lies between, is late. */
export function lateWords(_detail: string, { timeoutMs }: FaultContext): Words {
  return {
    kind: 'late',
    wrong: `the database gave no answer within ${Math.round(timeoutMs)} ms`,
    remedy: 'look for locks on the token table, slow queries, a frozen server and a broken network',
  }
}

/** Codes of Node.js, of its TLS, of postgres.js and of DatabaseError: the server did not get to say anything. */
export const CONNECTION_WORDS: ReadonlyMap<string, WordsOf> = new Map<string, WordsOf>([
  ['DEADLINE', lateWords],
  [
    'BUSY',
    (_detail, { timeoutMs }) => ({
      kind: 'busy',
      wrong: `no connection to the database became free within ${Math.round(timeoutMs)} ms: all of them wait for answers`,
      remedy: 'look for locks on the token table, slow queries and a frozen server',
    }),
  ],
  [
    'STANDBY',
    {
      kind: 'standby',
      wrong: 'the database server is in recovery (a standby), and only the primary decides',
      remedy: 'point DATABASE_URL at the primary, or promote this server',
    },
  ],
  [
    'FENCED',
    {
      kind: 'fenced',
      wrong: 'the database server is a primary that was replaced: another one has a newer timeline',
      remedy:
        'stop this server, or make it a standby of the new primary; after a restore to an older timeline restart the gateways',
    },
  ],
  ['MAPPING', mappingWords],
  [
    'CHANGED',
    {
      kind: 'changed',
      wrong: 'the token table was changed while it was asked',
      remedy: 'nothing is to be done: it is read again as it is now',
    },
  ],
  [
    'overloaded',
    {
      kind: 'overloaded',
      wrong: 'too many look-ups wait for answers already (LOOKUP_QUEUE_MAX)',
      remedy: 'see why the database is slower than requests come, or send fewer of them',
    },
  ],
  ['CLOSED', { kind: 'closed', wrong: 'the gateway is leaving', remedy: 'nothing is to be done' }],
  ['TLS_UNAVAILABLE', NO_TLS],
  ['SELF_SIGNED_CERT_IN_CHAIN', UNTRUSTED],
  ['UNABLE_TO_VERIFY_LEAF_SIGNATURE', UNTRUSTED],
  ['UNABLE_TO_GET_ISSUER_CERT_LOCALLY', UNTRUSTED],
  ['UNABLE_TO_GET_ISSUER_CERT', UNTRUSTED],
  ['CERT_UNTRUSTED', UNTRUSTED],
  ['CERT_SIGNATURE_FAILURE', UNTRUSTED],
  ['INVALID_CA', UNTRUSTED],
  ['DEPTH_ZERO_SELF_SIGNED_CERT', SELF_SIGNED],
  [
    'CERT_HAS_EXPIRED',
    {
      kind: 'certificate-expired',
      wrong: "the database server's certificate, or one in its chain, has expired",
      remedy: 'renew it at the server',
    },
  ],
  [
    'CERT_NOT_YET_VALID',
    {
      kind: 'certificate-expired',
      wrong: "the database server's certificate is not valid yet",
      remedy: 'compare the clocks of this machine and of the one that signed it',
    },
  ],
  [
    'ERR_TLS_CERT_ALTNAME_INVALID',
    {
      kind: 'certificate-name',
      wrong: "the database server's certificate is for another name than the host in DATABASE_URL",
      remedy: 'write a name there that the certificate has, or have one made for this name',
    },
  ],
  ['EPROTO', HANDSHAKE],
  ['ENOTFOUND', NO_HOST],
  ['EAI_AGAIN', { ...NO_HOST, wrong: 'the resolver does not answer for the host in DATABASE_URL' }],
  ['EAI_FAIL', NO_HOST],
  ['EAI_NODATA', NO_HOST],
  ['ENODATA', NO_HOST],
  ['ECONNREFUSED', REFUSED],
  ['ENOENT', { ...REFUSED, wrong: "the server's socket in DATABASE_URL does not exist" }],
  [
    'EACCES',
    {
      kind: 'refused',
      wrong: "this process may not open the server's socket",
      remedy: "let its user into the socket's folder",
    },
  ],
  ['ETIMEDOUT', UNREACHABLE],
  ['CONNECT_TIMEOUT', UNREACHABLE],
  ['EHOSTUNREACH', UNREACHABLE],
  ['ENETUNREACH', UNREACHABLE],
  ['EHOSTDOWN', UNREACHABLE],
  ['ECONNRESET', BROKEN],
  ['EPIPE', BROKEN],
  ['ECONNABORTED', BROKEN],
  ['CONNECTION_CLOSED', BROKEN],
  ['CONNECTION_ENDED', BROKEN],
  ['CONNECTION_DESTROYED', BROKEN],
  ['EMFILE', OWN_LIMIT],
  ['ENFILE', OWN_LIMIT],
  ['EADDRNOTAVAIL', OWN_LIMIT],
])

/** Whole classes of codes, where the code itself has no words of its own. */
export const CONNECTION_CLASSES: readonly (readonly [RegExp, WordsOf])[] = [
  [/^ERR_(SSL|TLS)_/, HANDSHAKE],
  [/^CERT_/, UNTRUSTED],
]

function mappingWords(_detail: string, { table }: FaultContext): Words {
  return {
    kind: 'mapping',
    wrong: `the token table ${table} does not fit the mapping`,
    remedy: 'correct the table, or TOKEN_TABLE, TOKEN_COLUMNS and TOKEN_STATUSES',
  }
}
