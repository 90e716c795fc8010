import type { FaultContext, FaultDescriber, FaultDescription } from './fault-description.ts'

const UNTRUSTED: FaultDescription = {
  kind: 'certificate-untrusted',
  problem: "the database server's certificate is not signed by an authority that this process trusts",
  remedy:
    'set NODE_EXTRA_CA_CERTS to a PEM file with the certificate of the authority that signed it, and restart the gateway',
}

const SELF_SIGNED: FaultDescription = {
  kind: 'certificate-untrusted',
  problem: "the database server's certificate is signed by itself and not trusted by this process",
  remedy: 'set NODE_EXTRA_CA_CERTS to a PEM file with this very certificate, and restart the gateway',
}

const NO_TLS: FaultDescription = {
  kind: 'tls-unavailable',
  problem: 'the database server offers no TLS, which sslmode in DATABASE_URL asks for',
  remedy: 'turn TLS on at the server, or write sslmode=disable where the network in between is trusted',
}

const HANDSHAKE: FaultDescription = {
  kind: 'tls-handshake',
  problem: 'the TLS handshake with the database server failed',
  remedy: 'look at the TLS versions that the server accepts, and whether DATABASE_URL leads to PostgreSQL',
}

const NO_HOST: FaultDescription = {
  kind: 'host-unknown',
  problem: 'no address is known for the host in DATABASE_URL',
  remedy: 'correct the name, or the resolver of this machine',
}

const UNREACHABLE: FaultDescription = {
  kind: 'unreachable',
  problem: "the database server's address cannot be reached",
  remedy: 'look at the network and the firewalls between, and at the host and port in DATABASE_URL',
}

const REFUSED: FaultDescription = {
  kind: 'refused',
  problem: 'nothing accepts connections at the host and port of DATABASE_URL',
  remedy: 'start the database server, or correct DATABASE_URL',
}

const BROKEN: FaultDescription = {
  kind: 'broken',
  problem: 'the connection to the database server was broken off',
  remedy: "look at the server's log, and at what in between closes connections",
}

const OWN_LIMIT: FaultDescription = {
  kind: 'own-limit',
  problem: 'this machine has no file descriptor or local port left for a connection to the database',
  remedy: 'raise ulimit -n, or end the processes that use them up',
}

/** The answer of the database, or of what is in between, is late. */
export function describeLateAnswer(_detail: string, { timeoutMs }: FaultContext): FaultDescription {
  return {
    kind: 'late',
    problem: `the database gave no answer within ${Math.round(timeoutMs)} ms`,
    remedy: 'look for locks on the token table, slow queries, a frozen server and a broken network',
  }
}

/** Faults by the codes of Node.js, of its TLS, of postgres.js and of DatabaseError; the server itself reported none. */
export const CONNECTION_FAULTS: ReadonlyMap<string, FaultDescriber> = new Map<string, FaultDescriber>([
  ['DEADLINE', describeLateAnswer],
  [
    'BUSY',
    (_detail, { timeoutMs }) => ({
      kind: 'busy',
      problem: `no connection to the database became free within ${Math.round(timeoutMs)} ms: all of them wait for answers`,
      remedy: 'look for locks on the token table, slow queries and a frozen server',
    }),
  ],
  [
    'STANDBY',
    {
      kind: 'standby',
      problem: 'the database server is in recovery (a standby), and only the primary decides',
      remedy: 'point DATABASE_URL at the primary, or promote this server',
    },
  ],
  [
    'FENCED',
    {
      kind: 'fenced',
      problem: 'the database server is a primary that was replaced: another one has a newer timeline',
      remedy:
        'stop this server, or make it a standby of the new primary; after a restore to an older timeline restart the gateways',
    },
  ],
  [
    'REPLACED',
    {
      kind: 'replaced',
      problem: 'behind a connection of a pooler another server has taken over',
      remedy: 'no action is needed: the gateway opens new connections; look at the pooler where it goes on',
    },
  ],
  ['MAPPING', describeMappingFault],
  [
    'CHANGED',
    {
      kind: 'changed',
      problem: 'the token table was changed during a query',
      remedy: 'no action is needed: the gateway reads the changed table',
    },
  ],
  [
    'overloaded',
    {
      kind: 'overloaded',
      problem: 'too many look-ups wait for answers already (LOOKUP_QUEUE_MAX)',
      remedy: 'find out why the database answers more slowly than requests arrive, or send fewer requests',
    },
  ],
  ['CLOSED', { kind: 'closed', problem: 'the gateway is shutting down', remedy: 'no action is needed' }],
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
      problem: "the database server's certificate, or one in its chain, has expired",
      remedy: 'renew it at the server',
    },
  ],
  [
    'CERT_NOT_YET_VALID',
    {
      kind: 'certificate-expired',
      problem: "the database server's certificate is not valid yet",
      remedy: 'compare the clocks of this machine and of the one that signed it',
    },
  ],
  [
    'ERR_TLS_CERT_ALTNAME_INVALID',
    {
      kind: 'certificate-name',
      problem: "the database server's certificate is for another name than the host in DATABASE_URL",
      remedy: 'write a name of the certificate there, or get a certificate for this name',
    },
  ],
  ['EPROTO', HANDSHAKE],
  ['ENOTFOUND', NO_HOST],
  ['EAI_AGAIN', { ...NO_HOST, problem: 'the resolver does not answer for the host in DATABASE_URL' }],
  ['EAI_FAIL', NO_HOST],
  ['EAI_NODATA', NO_HOST],
  ['ENODATA', NO_HOST],
  ['ECONNREFUSED', REFUSED],
  ['ENOENT', { ...REFUSED, problem: "the server's socket in DATABASE_URL does not exist" }],
  [
    'EACCES',
    {
      kind: 'refused',
      problem: "this process may not open the server's socket",
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

/** Faults by classes of codes, for codes without an entry of their own. */
export const CONNECTION_FAULT_CLASSES: readonly (readonly [RegExp, FaultDescriber])[] = [
  [/^ERR_(SSL|TLS)_/, HANDSHAKE],
  [/^CERT_/, UNTRUSTED],
]

function describeMappingFault(_detail: string, { table }: FaultContext): FaultDescription {
  return {
    kind: 'mapping',
    problem: `the token table ${table} does not fit the mapping`,
    remedy: 'correct the table or its grants, or TOKEN_TABLE, TOKEN_COLUMNS and TOKEN_STATUSES',
  }
}
