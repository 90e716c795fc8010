import { createRequire } from 'node:module'
import { parseArgs } from 'node:util'
import { check } from './cli/check.ts'
import { explain } from './cli/explain.ts'
import { schema } from './cli/schema.ts'
import { serve } from './cli/serve.ts'
import { token } from './cli/token.ts'
import { UsageError } from './cli/usage.ts'

const HELP = `poweron-gateway: a reverse proxy that checks every request's session against PostgreSQL

Usage:
  poweron-gateway [serve]                  run the gateway
  poweron-gateway check [FILE]             check a routing file; - is standard input
  poweron-gateway explain [--method M] [--cookie HEADER | --token JWT] URL
                                           what the gateway would do with a request, and why
  poweron-gateway token issue --user U [--mandate M] [--session S] [--ttl 1h] [--refresh]
  poweron-gateway token revoke --id I | --session S | --user U
  poweron-gateway token list [--user U] [--json]
  poweron-gateway schema                   the SQL of the token table, its trigger and a role
  poweron-gateway --help | --version

Examples:
  npm start                                                   with an embedded database and an echo backend
  NODE_ENV=production DATABASE_URL=postgres://… JWT_SECRET_FILE=… poweron-gateway serve
  npm run --silent token -- issue --user alice --ttl 15m       a token for trying things out
  poweron-gateway check upstreams.json                         before it is deployed
  poweron-gateway explain --token "$JWT" http://app.example.com/admin
  poweron-gateway schema | psql "$DATABASE_URL"

Settings are environment variables; the README lists them.
`

/** Exit codes: 0 done, 1 the answer is no, 2 wrong usage or settings. */
async function main(argv: readonly string[]): Promise<number> {
  const [command, ...rest] = argv
  const environment = {
    env: process.env,
    cwd: process.cwd(),
    stdin: process.stdin,
    stdout: process.stdout,
    stderr: process.stderr,
  }
  if (command === '--help' || command === '-h' || command === 'help') {
    process.stdout.write(HELP)
    return 0
  }
  if (command === '--version' || command === '-v') {
    process.stdout.write(`${version()}\n`)
    return 0
  }
  if (command === undefined || command === 'serve') {
    parseArgs({ args: rest, options: {} })
    return serve({
      ...environment,
      version: version(),
      onSignal: (name, listener) => process.on(name, listener),
    })
  }
  if (command === 'check') return check(rest, environment)
  if (command === 'explain') return explain(rest, environment)
  if (command === 'token') return token(rest, environment)
  if (command === 'schema') return schema(rest, environment)
  throw new UsageError(`"${command}" is no command`)
}

function version(): string {
  return (createRequire(import.meta.url)('../package.json') as { version: string }).version
}

function isUsage(error: unknown): error is Error {
  return (
    error instanceof UsageError ||
    (error instanceof TypeError && 'code' in error && String(error.code).startsWith('ERR_PARSE_ARGS'))
  )
}

main(process.argv.slice(2)).then(
  (code) => process.exit(code),
  (error: unknown) => {
    if (isUsage(error)) {
      process.stderr.write(`poweron-gateway: ${error.message}\n\n${HELP}`)
      process.exit(2)
    }
    process.stderr.write(`poweron-gateway: ${error instanceof Error ? error.message : String(error)}\n`)
    process.exit(1)
  },
)
