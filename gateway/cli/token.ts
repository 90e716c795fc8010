import { parseArgs } from 'node:util'
import { type ListedToken, openTokenAdmin, type Selection, type TokenAdmin } from '../sessions/token-admin.ts'
import { readSettings } from '../settings.ts'
import type { Environment } from './environment.ts'
import { UsageError } from './usage.ts'

const DEFAULT_TTL = '1h'
const TTL_UNITS: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600, d: 86_400 }

/** `token issue | revoke | list`. @returns the exit code */
export async function token(args: readonly string[], environment: Environment): Promise<number> {
  const [action, ...rest] = args
  const command =
    action === 'issue'
      ? parseIssue(rest)
      : action === 'revoke'
        ? parseRevoke(rest)
        : action === 'list'
          ? parseList(rest)
          : null
  if (command === null)
    throw new UsageError(
      `"token ${action ?? ''}" is no command; expected token issue, token revoke or token list`,
    )
  const read = readSettings(environment.env)
  if (!read.ok) throw new UsageError(read.problems.join('\n'))
  const { settings } = read

  const backing =
    settings.databaseUrl !== null && settings.keySource !== null
      ? { databaseUrl: settings.databaseUrl, keySource: settings.keySource, postgres: null }
      : await (await import('../dev/provision.ts')).provision(settings, environment.cwd)
  try {
    const admin = await openTokenAdmin({
      settings,
      databaseUrl: backing.databaseUrl,
      keySource: backing.keySource,
    })
    try {
      return await command(admin, environment)
    } finally {
      await admin.close()
    }
  } finally {
    await backing.postgres?.stop()
  }
}

type Command = (admin: TokenAdmin, environment: Environment) => Promise<number>

function parseIssue(args: readonly string[]): Command {
  const text = { type: 'string' } as const
  const { values } = parseArgs({
    args: [...args],
    options: { user: text, mandate: text, session: text, ttl: text, refresh: { type: 'boolean' } },
  })
  if (values.user === undefined || values.user === '') throw new UsageError('token issue: --user is missing')
  const fields = {
    userId: values.user,
    mandateId: values.mandate ?? null,
    sessionId: values.session ?? crypto.randomUUID(),
    ttlS: parseTtl(values.ttl ?? DEFAULT_TTL),
  }
  return async (admin, { stdout }) => {
    stdout.write(`${(await admin.issue(fields, 'access')).jwt}\n`)
    if (values.refresh === true) stdout.write(`${(await admin.issue(fields, 'refresh')).jwt}\n`)
    return 0
  }
}

function parseTtl(text: string): number {
  const parts = /^(\d{1,9})([smhd])$/.exec(text)
  const seconds = parts === null ? 0 : Number(parts[1]) * TTL_UNITS[parts[2]!]!
  if (seconds <= 0)
    throw new UsageError(`--ttl: found "${text}"; expected a duration such as 30s, 15m, 1h or 7d`)
  return seconds
}

function parseRevoke(args: readonly string[]): Command {
  const text = { type: 'string' } as const
  const { values } = parseArgs({ args: [...args], options: { id: text, session: text, user: text } })
  const given: Selection[] = []
  if (values.id !== undefined) given.push({ by: 'id', value: values.id })
  if (values.session !== undefined) given.push({ by: 'sessionId', value: values.session })
  if (values.user !== undefined) given.push({ by: 'userId', value: values.user })
  const [selection] = given
  if (selection === undefined || given.length > 1)
    throw new UsageError('token revoke: expected one of --id, --session and --user')
  return async (admin, { stdout }) => {
    const count = await admin.revoke(selection)
    stdout.write(`${count} ${count === 1 ? 'token' : 'tokens'} revoked\n`)
    return count > 0 ? 0 : 1
  }
}

function parseList(args: readonly string[]): Command {
  const { values } = parseArgs({
    args: [...args],
    options: { user: { type: 'string' }, json: { type: 'boolean' } },
  })
  return async (admin, { stdout }) => {
    const rows = await admin.list(values.user ?? null)
    stdout.write(values.json === true ? `${JSON.stringify(rows, null, 2)}\n` : table(rows))
    return 0
  }
}

const COLUMNS = ['id', 'userId', 'mandateId', 'sessionId', 'status', 'expiresAt'] as const

function table(rows: readonly ListedToken[]): string {
  const lines = [[...COLUMNS], ...rows.map((row) => COLUMNS.map((name) => row[name] ?? '-'))]
  const widths = COLUMNS.map((_, i) => Math.max(...lines.map((line) => line[i]!.length)))
  return lines
    .map(
      (line) =>
        `${line
          .map((cell, i) => cell.padEnd(widths[i]!))
          .join('  ')
          .trimEnd()}\n`,
    )
    .join('')
}
