import { decodeJwt } from 'jose'
import { escapeInvisible } from '../core/message-text.ts'
import type { Arguments } from './arguments.ts'
import type { Environment } from './environment.ts'
import { loadSettings, withResources } from './resources.ts'
import { type Paint, paintFor } from './terminal.ts'
import { type ListedToken, openTokenAdmin, type Selection, type TokenAdmin } from './token-admin.ts'
import { UsageError } from './usage.ts'

const DEFAULT_TTL = '1h'
const TTL_UNITS: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600, d: 86_400 }
const MAX_TTL_S = 100 * 365 * 86_400
const DEFAULT_LIMIT = 1000
const MAX_LIMIT = 1_000_000

/** `token issue`: the JWT alone on stdout, with `--refresh` the refresh token on a second line. */
export function issueToken(args: Arguments, environment: Environment): Promise<number> {
  const userId = args.text('user')
  if (userId === null) throw new UsageError('--user is missing; expected the id of the user')
  const token = {
    userId,
    mandateId: args.text('mandate'),
    sessionId: args.text('session'),
    ttlS: parseTtl(args.text('ttl') ?? DEFAULT_TTL),
  }
  return withAdmin(environment, { needsKey: true }, async (admin) => {
    const issued = await admin.issue(token, args.has('refresh') ? ['access', 'refresh'] : ['access'])
    environment.stdout.write(issued.map(({ jwt }) => `${jwt}\n`).join(''))
    return 0
  })
}

/** `token revoke`. @returns 1 where nothing was active */
export function revokeTokens(args: Arguments, environment: Environment): Promise<number> {
  const names = { id: 'id', session: 'sessionId', user: 'userId' } as const
  const given = Object.entries(names).flatMap(([option, by]): Selection[] => {
    const value = args.text(option)
    return value === null ? [] : [{ by, value }]
  })
  const [selection] = given
  if (selection === undefined || given.length > 1)
    throw new UsageError('expected exactly one of --id, --session and --user')
  if (selection.by === 'id') refuseJwt(selection.value)
  return withAdmin(environment, { needsKey: false }, async (admin) => {
    const count = await admin.revoke(selection)
    environment.stdout.write(`${count} ${count === 1 ? 'token' : 'tokens'} revoked\n`)
    if (count === 0) environment.stderr.write('poweron-gateway: no active token was found\n')
    return count > 0 ? 0 : 1
  })
}

/** `token list`: a table, or JSON. */
export function listTokens(args: Arguments, environment: Environment): Promise<number> {
  const limit = parseLimit(args.text('limit'))
  const which = {
    userId: args.text('user'),
    sessionId: args.text('session'),
    activeOnly: args.has('active'),
    // One row more shows whether the list was cut.
    limit: limit + 1,
  }
  const { stdout, stderr, env } = environment
  return withAdmin(environment, { needsKey: false }, async (admin) => {
    const found = await admin.list(which)
    const rows = found.slice(0, limit)
    if (args.has('json')) stdout.write(`${JSON.stringify(rows, null, 2)}\n`)
    else if (rows.length > 0) stdout.write(formatTable(rows, paintFor(stdout, env)))
    if (rows.length === 0) stderr.write('poweron-gateway: no token was found\n')
    if (found.length > limit)
      stderr.write(`poweron-gateway: only the first ${limit} tokens are shown; --limit N shows more\n`)
    return 0
  })
}

async function withAdmin(
  environment: Environment,
  { needsKey }: { readonly needsKey: boolean },
  work: (admin: TokenAdmin) => Promise<number>,
): Promise<number> {
  const settings = loadSettings(environment)
  return withResources(environment, { settings, needsKey }, async (resources) => {
    const admin = openTokenAdmin(resources)
    try {
      return await work(admin)
    } finally {
      await admin.close()
    }
  })
}

/** A JWT in place of its id would match no row, so the error names the id in it. */
function refuseJwt(value: string): void {
  if (!/^eyJ[\w-]+\.[\w-]+\./.test(value)) return
  let id: unknown = null
  try {
    id = decodeJwt(value).jti
  } catch {
    // It is not a JWT either.
  }
  const hint = typeof id === 'string' ? `; its id is ${JSON.stringify(id.slice(0, 200))}` : ''
  throw new UsageError(`--id: found a JWT; expected the id of a token${hint}`)
}

function parseTtl(text: string): number {
  const parts = /^(\d{1,9})([smhd])$/.exec(text)
  const seconds = parts === null ? 0 : Number(parts[1]) * TTL_UNITS[parts[2]!]!
  if (seconds <= 0 || seconds > MAX_TTL_S)
    throw new UsageError(
      `--ttl: found ${JSON.stringify(text.slice(0, 40))}; expected a duration such as 30s, 15m, 1h or 7d, of a hundred years at most`,
    )
  return seconds
}

function parseLimit(text: string | null): number {
  if (text === null) return DEFAULT_LIMIT
  const limit = /^\d{1,7}$/.test(text) ? Number(text) : 0
  if (limit < 1 || limit > MAX_LIMIT)
    throw new UsageError(
      `--limit: found ${JSON.stringify(text.slice(0, 40))}; expected a whole number from 1 to ${MAX_LIMIT}`,
    )
  return limit
}

const COLUMNS = ['id', 'userId', 'mandateId', 'sessionId', 'status', 'expiresAt'] as const

function formatTable(rows: readonly ListedToken[], paint: Paint): string {
  const head = COLUMNS.map((name) => name as string)
  const body = rows.map((row) => COLUMNS.map((name) => cellOf(row, name)))
  const widths = COLUMNS.map((_, i) =>
    body.reduce((most, line) => Math.max(most, line[i]!.length), head[i]!.length),
  )
  const aligned = (line: readonly string[]) =>
    line
      .map((cell, i) => cell.padEnd(widths[i]!))
      .join('  ')
      .trimEnd()
  const lines = rows.map((row, i) => {
    const admits = row.active && !row.expired
    return admits ? aligned(body[i]!) : paint.dim(aligned(body[i]!))
  })
  return `${[paint.bold(aligned(head)), ...lines].join('\n')}\n`
}

/** Keeps a row on one line, whatever it contains. */
function cellOf(row: ListedToken, name: (typeof COLUMNS)[number]): string {
  if (name === 'status' && row.active && row.expired) return `${escapeInvisible(String(row.status))}, expired`
  return escapeInvisible(row[name] ?? '-')
}
