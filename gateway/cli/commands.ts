import type { Command, Option } from './command.ts'

const WRONG_USAGE = 'wrong usage or settings'

export const HELP_OPTION: Option = { name: 'help', description: 'print this help' }

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

SIGTERM and SIGINT drain and end it, SIGHUP reads the routing file and the error pages
again.`,
    options: [],
    examples: [
      { line: 'npm start', meaning: 'try the gateway: embedded database, generated key, echo backend' },
      {
        line: 'NODE_ENV=production DATABASE_URL=postgres://… JWT_SECRET_FILE=… poweron-gateway serve',
        meaning: 'in production',
      },
    ],
    exits: {
      0: 'stopped by a signal, after the drain',
      1: 'stopped by a second signal, or an internal error',
      2: 'cannot start',
    },
  },
  {
    name: 'check',
    usage: '[--strict] [FILE]',
    summary: 'check a routing file before it is used',
    about: `Prints one line for each problem, all of them at once:

  FILE:LINE:COLUMN: POINTER: found …, expected …

Lines and columns count from 1, the pointer is a JSON pointer (RFC 6901). What is
valid but probably a mistake is a warning on stderr; it does not change the exit
code, but with --strict it is a problem like the others.
Without FILE it checks UPSTREAMS_FILE, or upstreams.json; - is standard input.
Certificates and keys that the file names are read too, and so are the error pages of
ERROR_PAGES_DIR, where it is set.`,
    options: [{ name: 'strict', description: 'count warnings as problems' }],
    positional: { name: 'FILE' },
    examples: [
      { line: 'poweron-gateway check upstreams.json', meaning: 'check a file before it is deployed' },
      {
        line: 'ERROR_PAGES_DIR=./pages poweron-gateway check',
        meaning: 'check the error pages as well',
      },
      { line: 'poweron-gateway check - < new.json', meaning: 'check what comes from standard input' },
      {
        line: 'poweron-gateway check new.json && mv new.json upstreams.json',
        meaning: 'replace the file in use only if the new one is good',
      },
      {
        line: 'poweron-gateway check --strict upstreams.json',
        meaning: 'in CI, where nobody reads warnings',
      },
    ],
    exits: { 0: 'all files are good', 1: 'a file has problems', 2: 'wrong usage' },
  },
  {
    name: 'explain',
    usage: '[--method M] [--header LINE]… [--cookie HEADER | --token JWT] [--admin URL] [--json] URL',
    summary: 'show what the gateway would do with a request, and why',
    about: `Runs the request through the gateway's own code, up to where it would be sent, and
prints each step: the route and why it was chosen, the token, its row as it is now,
the decision, the targets, the headers. Nothing is sent, nothing is changed, no secret
is printed. It reads the same settings and routing file as the gateway, and says on
stderr which database, key and routing file these are. With --admin it asks a running
gateway instead, which needs no settings here, and shows which targets are up.

URL is http:, https:, ws: or wss: (a WebSocket handshake), or only a path.`,
    options: [
      { name: 'method', value: 'M', description: 'the method; GET by default' },
      {
        name: 'header',
        value: 'LINE',
        repeatable: true,
        description: 'a header that the client sends, such as "Origin: https://app.example.com"',
      },
      { name: 'cookie', value: 'HEADER', description: "the client's Cookie header" },
      { name: 'token', value: 'JWT', description: 'the access token; - reads it from standard input' },
      {
        name: 'admin',
        value: 'URL',
        description: 'ask the running gateway with this admin listener, such as http://127.0.0.1:9090',
      },
      { name: 'json', description: 'print JSON' },
    ],
    positional: { name: 'URL' },
    examples: [
      {
        line: 'poweron-gateway explain --token "$JWT" https://app.example.com/admin?x=1',
        meaning: 'why is this request refused?',
      },
      {
        line: "poweron-gateway explain --cookie 'auth_token=…; theme=dark' /api",
        meaning: 'with cookies as a browser sends them',
      },
      {
        line: 'poweron-gateway explain --method POST --header "Origin: https://evil.example" /api',
        meaning: "a request from another site's page",
      },
      {
        line: 'poweron-gateway explain --header "Accept: text/html" /admin',
        meaning: "is a browser's navigation redirected to the login?",
      },
      {
        line: 'poweron-gateway explain --admin http://127.0.0.1:9090 --token - /admin < token',
        meaning: 'what does the running gateway do with it, and which targets are up?',
      },
    ],
    exits: {
      0: 'the request would be forwarded',
      1: 'the request would not be forwarded, the routing file is not usable, or the gateway does not answer',
      2: WRONG_USAGE,
    },
  },
  {
    name: 'token issue',
    usage: '--user U [--mandate M] [--session S] [--ttl 1h] [--refresh]',
    summary: 'sign a token and write its row',
    about: `Prints only the JWT on stdout, so that a script can use it; stderr names the database
and the key. It needs the signing secret (JWT_SECRET or JWT_SECRET_FILE), and INSERT
on the token table.`,
    options: [
      user("the user's id"),
      { name: 'mandate', value: 'M', description: "the tenant's id; none by default" },
      { name: 'session', value: 'S', description: "the session's id; a new one by default" },
      { name: 'ttl', value: 'T', description: 'lifetime: 30s, 15m, 1h (the default), 7d' },
      { name: 'refresh', description: 'print a refresh token of the same session too, on a second line' },
    ],
    examples: [
      {
        line: 'JWT=$(poweron-gateway token issue --user alice --mandate acme)',
        meaning: 'keep the token in a variable',
      },
      {
        line: 'curl -b "auth_token=$(poweron-gateway token issue --user alice --ttl 5m)" http://localhost:8080/',
        meaning: 'send a request as alice',
      },
    ],
    exits: { 0: 'the token was issued', 1: 'the token was not issued', 2: WRONG_USAGE },
  },
  {
    name: 'token revoke',
    usage: '--id I | --session S | --user U',
    summary: 'revoke a token, all tokens of a session, or all of a user',
    about: `Every instance refuses the tokens from the next request on. Open streams end at once
where REVOCATION_CHANNEL is set, otherwise within STREAM_RECHECK_MS.`,
    options: [
      { name: 'id', value: 'I', description: "the token's id (its jti)" },
      { name: 'session', value: 'S', description: 'every token of this session' },
      user('every token of this user'),
    ],
    examples: [
      {
        line: 'poweron-gateway token revoke --user alice',
        meaning: 'all tokens of an account that was taken over',
      },
      { line: 'poweron-gateway token revoke --session 5f0c…', meaning: 'the tokens of one device' },
    ],
    exits: { 0: 'tokens were revoked', 1: 'no active token was found, or it failed', 2: WRONG_USAGE },
  },
  {
    name: 'token list',
    usage: '[--user U] [--session S] [--active] [--limit N] [--json]',
    summary: 'list the rows of the token table',
    about: 'The latest expiry comes first. The table holds no JWT, so none is printed.',
    options: [
      user('only tokens of this user'),
      { name: 'session', value: 'S', description: 'only tokens of this session' },
      { name: 'active', description: 'only tokens that still admit requests' },
      { name: 'limit', value: 'N', description: 'at most N tokens; 1000 by default' },
      { name: 'json', description: 'print JSON' },
    ],
    examples: [
      { line: 'poweron-gateway token list --user alice --active', meaning: 'where is alice logged in?' },
      {
        line: "poweron-gateway token list --json | jq -r '.[].sessionId' | sort -u",
        meaning: 'the sessions, for a script',
      },
    ],
    exits: { 0: 'listed, even where there are none', 1: 'it failed', 2: WRONG_USAGE },
  },
  {
    name: 'schema',
    usage: '',
    summary: 'print the SQL of the token table, its trigger and a role',
    about: `Prints the SQL of the table, its indexes, the trigger that sends a notice of each
revocation, and a role with no more rights than the gateway needs. It depends on
TOKEN_TABLE, TOKEN_COLUMNS, TOKEN_STATUSES, REVOCATION_CHANNEL, SESSION_ENDPOINTS and
LOOKUP_TIMEOUT_MS (for the role's statement_timeout). It can be run again, and on a
table that exists already: the table stays as it is. PostgreSQL 14 or later.`,
    options: [],
    examples: [
      { line: 'poweron-gateway schema', meaning: 'read the SQL first' },
      {
        line: 'poweron-gateway schema | psql -v ON_ERROR_STOP=1 "$DATABASE_URL"',
        meaning: 'run the SQL as the owner of the table',
      },
    ],
    exits: { 0: 'the SQL was printed', 2: WRONG_USAGE },
  },
  {
    name: 'help',
    usage: '[COMMAND]',
    summary: 'print the help of a command',
    about: 'Prints the same as COMMAND --help.',
    options: [],
    positional: { name: 'COMMAND', manyWords: true },
    examples: [{ line: 'poweron-gateway help explain', meaning: 'the help of explain' }],
    exits: { 0: 'the help was printed', 2: 'wrong usage' },
  },
]
