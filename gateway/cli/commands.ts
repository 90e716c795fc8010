import type { Command, Option } from './command.ts'

const WRONG_USAGE = 'wrong usage or settings'

export const HELP_OPTION: Option = { name: 'help', description: 'this help' }

const user = (description: string): Option => ({ name: 'user', value: 'U', description })

/** Every command, in the order of the help. */
export const COMMANDS: readonly Command[] = [
  {
    name: 'serve',
    usage: '',
    summary: 'run the gateway (the default)',
    about: `Settings are environment variables; docs/configuration.md has them all. Every bad
one is named at once. Without NODE_ENV=production, an embedded PostgreSQL and a
generated key stand in for those that are not set.

SIGTERM and SIGINT drain and end it, SIGHUP reads the routing file again.`,
    options: [],
    examples: [
      { line: 'npm start', says: 'try it: embedded database, generated key, echo backend' },
      {
        line: 'NODE_ENV=production DATABASE_URL=postgres://… JWT_SECRET_FILE=… poweron-gateway serve',
        says: 'in earnest',
      },
    ],
    exits: { 0: 'told to end, and drained', 1: 'told to end twice, or a defect', 2: 'cannot start' },
  },
  {
    name: 'check',
    usage: '[FILE]',
    summary: 'check a routing file before it bites',
    about: `Prints one line for each problem, all of them at once:

  FILE:LINE:COLUMN: POINTER: found …, expected …

Lines and columns count from 1, the pointer is a JSON pointer (RFC 6901). What is
odd and does no harm is a warning on stderr and does not count.
FILE is UPSTREAMS_FILE, or upstreams.json, where it is not given; - is standard input.
Certificates and keys that the file names are opened too.`,
    options: [],
    positional: { name: 'FILE' },
    examples: [
      { line: 'poweron-gateway check upstreams.json', says: 'before it is deployed' },
      { line: 'poweron-gateway check - < new.json', says: 'from standard input' },
      { line: 'poweron-gateway check new.json && mv new.json upstreams.json', says: 'put in force if good' },
    ],
    exits: { 0: 'the file is good', 1: 'it is not', 2: 'wrong usage' },
  },
  {
    name: 'explain',
    usage: '[--method M] [--header LINE]… [--cookie HEADER | --token JWT] [--json] URL',
    summary: 'what the gateway would do with a request, and why',
    about: `Goes the gateway's own way with the request, up to where it would be sent: which
route and why that one, the token, its row as it stands now, the decision, the
targets, the headers. Nothing is sent, nothing is changed, no secret is printed.
Reads the same settings and routing file as the gateway.

URL is http:, https:, ws: or wss: (a WebSocket's handshake), or only a path.`,
    options: [
      { name: 'method', value: 'M', description: 'GET by default' },
      {
        name: 'header',
        value: 'LINE',
        repeatable: true,
        description: 'a header that the client sends, such as "Origin: https://app.example.com"',
      },
      { name: 'cookie', value: 'HEADER', description: "the client's Cookie header" },
      { name: 'token', value: 'JWT', description: 'the access token; - reads it from standard input' },
      { name: 'json', description: 'for programs' },
    ],
    positional: { name: 'URL' },
    examples: [
      {
        line: 'poweron-gateway explain --token "$JWT" https://app.example.com/admin?x=1',
        says: 'why was it refused?',
      },
      {
        line: "poweron-gateway explain --cookie 'auth_token=…; theme=dark' /api",
        says: 'cookies as a browser sends them',
      },
      {
        line: 'poweron-gateway explain --method POST --header "Origin: https://evil.example" /api',
        says: "another site's request",
      },
      {
        line: 'poweron-gateway explain --header "Accept: text/html" /admin',
        says: "a browser's navigation: is it sent to a login?",
      },
    ],
    exits: {
      0: 'it would be forwarded',
      1: 'it would not, or the routing file is not usable',
      2: WRONG_USAGE,
    },
  },
  {
    name: 'token issue',
    usage: '--user U [--mandate M] [--session S] [--ttl 1h] [--refresh]',
    summary: 'sign a token and write its row',
    about: `Prints the JWT alone, so that a script can take it. It needs the secret that signs
(JWT_SECRET or JWT_SECRET_FILE), and INSERT on the token table.`,
    options: [
      user("the user's id"),
      { name: 'mandate', value: 'M', description: "the tenant's id; none by default" },
      { name: 'session', value: 'S', description: "the session's id; a new one by default" },
      { name: 'ttl', value: 'T', description: 'lifetime: 30s, 15m, 1h (the default), 7d' },
      { name: 'refresh', description: 'a refresh token of the same session too, on a second line' },
    ],
    examples: [
      { line: 'JWT=$(poweron-gateway token issue --user alice --mandate acme)', says: 'into a variable' },
      {
        line: 'curl -b "auth_token=$(poweron-gateway token issue --user alice --ttl 5m)" http://localhost:8080/',
        says: 'a request as alice',
      },
    ],
    exits: { 0: 'issued', 1: 'not issued', 2: WRONG_USAGE },
  },
  {
    name: 'token revoke',
    usage: '--id I | --session S | --user U',
    summary: 'revoke a token, a session, or all of a user',
    about: `In force for every request that arrives from then on, at every instance. Open
streams end at once where REVOCATION_CHANNEL is set, else within STREAM_RECHECK_MS.`,
    options: [
      { name: 'id', value: 'I', description: "the token's id (its jti)" },
      { name: 'session', value: 'S', description: 'every token of this session' },
      user('every token of this user'),
    ],
    examples: [
      { line: 'poweron-gateway token revoke --user alice', says: 'an account was taken over' },
      { line: 'poweron-gateway token revoke --session 5f0c…', says: 'one device' },
    ],
    exits: { 0: 'revoked', 1: 'nothing active was found, or it failed', 2: WRONG_USAGE },
  },
  {
    name: 'token list',
    usage: '[--user U] [--session S] [--active] [--limit N] [--json]',
    summary: 'the rows of the token table',
    about: 'The latest expiry comes first. No JWT is in the table, so none is printed.',
    options: [
      user('those of this user'),
      { name: 'session', value: 'S', description: 'those of this session' },
      { name: 'active', description: 'those that still admit' },
      { name: 'limit', value: 'N', description: 'at most so many; 1000 by default' },
      { name: 'json', description: 'for programs' },
    ],
    examples: [
      { line: 'poweron-gateway token list --user alice --active', says: 'where is alice logged in?' },
      {
        line: "poweron-gateway token list --json | jq -r '.[].sessionId' | sort -u",
        says: 'sessions, in a script',
      },
    ],
    exits: { 0: 'listed, also where there are none', 1: 'it failed', 2: WRONG_USAGE },
  },
  {
    name: 'schema',
    usage: '',
    summary: 'the SQL of the token table, its trigger and a role',
    about: `Prints the table, its indexes, the trigger that tells of revocations and a role that
may do no more than the gateway needs. Follows TOKEN_TABLE, TOKEN_COLUMNS,
TOKEN_STATUSES, REVOCATION_CHANNEL, SESSION_ENDPOINTS and LOOKUP_TIMEOUT_MS (for the
role's statement_timeout). Safe to run again, and on a table that is there already: it
stays as it is. PostgreSQL 14 or later.`,
    options: [],
    examples: [
      { line: 'poweron-gateway schema', says: 'read it first' },
      {
        line: 'poweron-gateway schema | psql -v ON_ERROR_STOP=1 "$DATABASE_URL"',
        says: 'run it, as the owner of the table',
      },
    ],
    exits: { 0: 'printed', 2: WRONG_USAGE },
  },
  {
    name: 'help',
    usage: '[COMMAND]',
    summary: 'help on a command',
    about: 'The same as COMMAND --help.',
    options: [],
    positional: { name: 'COMMAND', manyWords: true },
    examples: [{ line: 'poweron-gateway help explain', says: 'with examples' }],
    exits: { 0: 'printed', 2: 'wrong usage' },
  },
]
