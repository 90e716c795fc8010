import { randomUUID } from 'node:crypto'
import { SignJWT } from 'jose'
import postgres from 'postgres'
import { createKeyRing, type KeySource } from '../auth/keys.ts'
import { quoted, quotedTable } from '../auth/token-columns.ts'
import { systemScheduler } from '../scheduler.ts'
import type { Settings } from '../settings.ts'

/** Tokens by hand: what the backends do in earnest, for first tries and emergencies. */
export interface TokenAdmin {
  /** Signs a token and writes its row. @throws Error where the gateway holds no signing secret */
  issue(token: NewToken, use: 'access' | 'refresh'): Promise<{ readonly id: string; readonly jwt: string }>
  /** @returns how many tokens were active and are not any more */
  revoke(which: Selection): Promise<number>
  /** Newest expiry first. */
  list(userId: string | null): Promise<readonly ListedToken[]>
  close(): Promise<void>
}

export interface NewToken {
  readonly userId: string
  readonly mandateId: string | null
  /** A new session where null. */
  readonly sessionId: string | null
  readonly ttlS: number
}

export interface Selection {
  readonly by: 'id' | 'sessionId' | 'userId'
  readonly value: string
}

export interface ListedToken {
  readonly id: string
  readonly userId: string
  readonly sessionId: string
  readonly mandateId: string | null
  readonly status: string
  readonly expiresAt: string | null
}

export interface TokenAdminParts {
  readonly settings: Settings
  readonly databaseUrl: string
  readonly keySource: KeySource
}

const LIST_MAX = 1000

export async function openTokenAdmin({
  settings,
  databaseUrl,
  keySource,
}: TokenAdminParts): Promise<TokenAdmin> {
  const { tokenColumns: columns, tokenTable } = settings
  const sql = postgres(databaseUrl, {
    max: 1,
    onnotice: () => {},
    connect_timeout: 5,
    connection: { application_name: 'poweron-gateway-cli' },
  })
  const table = quotedTable(tokenTable)
  const column = (name: keyof typeof columns) => quoted(columns[name])

  async function expiryType(): Promise<string> {
    const [row] = await sql`
      select format_type(atttypid, null) as type from pg_attribute
      where attrelid = to_regclass(${table}) and attname = ${columns.expiresAt}`
    return row?.type ?? 'timestamp with time zone'
  }

  async function sign(claims: Record<string, unknown>): Promise<string> {
    const keys = await createKeyRing(keySource, {
      scheduler: systemScheduler,
      fetchJson: () => Promise.reject(new Error('not fetched here')),
      algorithms: settings.jwtAlgorithms,
      log: { info() {}, error() {} },
    })
    keys.close()
    if (keys.secret === null)
      throw new Error(
        'tokens are signed with JWT_SECRET or JWT_SECRET_FILE; the gateway holds only public keys',
      )
    return new SignJWT(claims)
      .setProtectedHeader({ alg: keys.algorithms[0] ?? 'HS256', typ: 'JWT' })
      .sign(keys.secret)
  }

  return {
    async issue({ userId, mandateId, sessionId, ttlS }, use) {
      const id = randomUUID()
      const session = sessionId ?? randomUUID()
      const issuedAt = Math.floor(Date.now() / 1000)
      const exp = issuedAt + ttlS
      const jwt = await sign({
        jti: id,
        userId,
        sessionId: session,
        mandateId,
        type: use,
        iat: issuedAt,
        exp,
        ...(settings.jwtIssuer === null ? {} : { iss: settings.jwtIssuer }),
        ...(settings.jwtAudience === null ? {} : { aud: settings.jwtAudience }),
      })
      const expiry = expiryValue(await expiryType())
      await sql.unsafe(
        `insert into ${table} (${column('id')}, ${column('userId')}, ${column('sessionId')}, ${column('mandateId')}, ${column('status')}, ${column('expiresAt')})
         values ($1, $2, $3, $4, 'ACTIVE', ${expiry})`,
        [id, userId, session, mandateId, exp],
      )
      return { id, jwt }
    },
    async revoke({ by, value }) {
      const result = await sql.unsafe(
        `update ${table} set ${column('status')} = 'REVOKED' where ${column(by)}::text = $1 and ${column('status')}::text = 'ACTIVE'`,
        [value],
      )
      return result.count
    },
    async list(userId) {
      const rows = await sql.unsafe(
        `select ${column('id')}::text as id, ${column('userId')}::text as "userId", ${column('sessionId')}::text as "sessionId",
                ${column('mandateId')}::text as "mandateId", ${column('status')}::text as status, ${column('expiresAt')}::text as "expiresAt"
         from ${table} where $1::text is null or ${column('userId')}::text = $1 order by ${column('expiresAt')} desc limit ${LIST_MAX}`,
        [userId],
      )
      return rows as unknown as ListedToken[]
    },
    close: () => sql.end(),
  }
}

/** How epoch seconds in `$5` are written into a column of this type. */
function expiryValue(type: string): string {
  if (type === 'timestamp with time zone') return 'to_timestamp($5::float8)'
  if (type === 'timestamp without time zone') return `to_timestamp($5::float8) at time zone 'UTC'`
  return '$5::bigint'
}
