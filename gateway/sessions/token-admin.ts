import { randomUUID } from 'node:crypto'
import { SignJWT } from 'jose'
import { type Cell, createDatabase, DatabaseError, type Statement } from '../auth/database.ts'
import { parseDatabaseUrl } from '../auth/database-url.ts'
import { createKeyRing, type KeySource } from '../auth/keys.ts'
import { quoted, quotedTable, type TokenColumns } from '../auth/token-columns.ts'
import { expirySql, expiryValueSql } from '../auth/token-expiry.ts'
import { createTokenTable } from '../auth/token-table.ts'
import { systemScheduler } from '../scheduler.ts'
import type { Settings } from '../settings.ts'

/** Tokens by hand: what the backends do in earnest, for first tries and emergencies. */
export interface TokenAdmin {
  /**
   * Signs tokens of one session and writes their rows, all or none.
   *
   * @throws Error where the gateway holds no signing secret, DatabaseError
   */
  issue(token: NewToken, uses: readonly TokenUse[]): Promise<readonly IssuedToken[]>
  /** @returns how many tokens were active and are not any more */
  revoke(which: Selection): Promise<number>
  /** Latest expiry first. */
  list(which: Listing): Promise<readonly ListedToken[]>
  close(): Promise<void>
}

export type TokenUse = 'access' | 'refresh'

export interface IssuedToken {
  readonly id: string
  readonly jwt: string
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

export interface Listing {
  readonly userId: string | null
  readonly sessionId: string | null
  /** Only those that would admit a request now. */
  readonly activeOnly: boolean
  readonly limit: number
}

export interface ListedToken {
  readonly id: string
  readonly userId: string
  readonly sessionId: string
  readonly mandateId: string | null
  readonly status: string
  /** By the database's clock. */
  readonly expired: boolean
  /** ISO 8601; null where the token's own `exp` alone decides. */
  readonly expiresAt: string | null
}

export interface TokenAdminParts {
  readonly settings: Settings
  readonly databaseUrl: string
  readonly keySource: KeySource
}

/** Somebody waits for it: long enough for a slow link, short enough to look elsewhere. */
const TIMEOUT_MS = 10_000

const COLUMNS = ['id', 'userId', 'sessionId', 'mandateId', 'status', 'expiresAt'] as const

export function openTokenAdmin({ settings, databaseUrl, keySource }: TokenAdminParts): TokenAdmin {
  const { tokenColumns: columns, tokenTable, databasePrepare: prepare } = settings
  const database = createDatabase({
    url: databaseUrl,
    connections: 1,
    prepare,
    scheduler: systemScheduler,
  })
  const table = quotedTable(tokenTable)
  const column = (name: keyof TokenColumns) => quoted(columns[name])
  const mapping = createTokenTable({ database, table: tokenTable, columns })

  /** Of several hosts only the primary can be written to, and only it is sure of what it reads. */
  async function kindsAtPrimary() {
    for (let left = parseDatabaseUrl(databaseUrl).hosts.length * 2; ; left--) {
      try {
        await mapping.probe(TIMEOUT_MS)
        return await mapping.kinds(TIMEOUT_MS)
      } catch (error) {
        if (left <= 1 || !(error instanceof DatabaseError && error.stale)) throw error
      }
    }
  }

  const run = (statement: Statement): Promise<Cell[][]> => database.query(statement, TIMEOUT_MS)

  return {
    async issue({ userId, mandateId, sessionId, ttlS }, uses) {
      const session = sessionId ?? randomUUID()
      const iat = Math.floor(Date.now() / 1000)
      const exp = iat + ttlS
      const sign = await createSigner(settings, keySource)
      const issued = await Promise.all(
        uses.map(async (use) => {
          const id = randomUUID()
          const claims = { jti: id, userId, sessionId: session, mandateId, type: use, iat, exp }
          return { id, jwt: await sign(claims) }
        }),
      )
      const { expiresAt } = await kindsAtPrimary()
      const shared = [userId, session, String(exp), ...(mandateId === null ? [] : [mandateId])]
      const mandate = mandateId === null ? 'null' : '$4'
      const expiry = expiryValueSql('$3', expiresAt)
      const rows = issued.map(
        (_, i) => `($${shared.length + i + 1}, $1, $2, ${mandate}, 'ACTIVE', ${expiry})`,
      )
      await run({
        text: `insert into ${table} (${COLUMNS.map(column).join(', ')}) values ${rows.join(', ')}`,
        parameters: [...shared, ...issued.map(({ id }) => id)],
      })
      return issued
    },
    async revoke({ by, value }) {
      await kindsAtPrimary()
      const text = `with revoked as (
                      update ${table} set ${column('status')} = 'REVOKED'
                      where ${column(by)}::text = $1 and ${column('status')}::text = 'ACTIVE' returning 1)
                    select count(*)::int4 from revoked`
      const once = async () =>
        Number((await run({ text, parameters: [by === 'id' ? value.trim() : value] }))[0]?.[0])
      // An update that waits for a refresh of the same session does not see the tokens which that one makes.
      let revoked = await once()
      for (let more = await once(); more > 0; more = await once()) revoked += more
      return revoked
    },
    async list({ userId, sessionId, activeOnly, limit }) {
      const { expiresAt } = await kindsAtPrimary()
      const { epoch, expired } = expirySql(column('expiresAt'), expiresAt)
      const texts = COLUMNS.slice(0, -1).map((name) => `${column(name)}::text`)
      const active = `(${column('status')}::text = 'ACTIVE' and not coalesce(${expired}, false))`
      const rows = await run({
        text: `select ${texts.join(', ')}, coalesce(${expired}, false), ${epoch} from ${table}
               where ($1 = '' or ${column('userId')}::text = $1) and ($2 = '' or ${column('sessionId')}::text = $2)
               ${activeOnly ? `and ${active}` : ''}
               order by ${column('expiresAt')} desc, ${column('id')} limit ${limit}`,
        parameters: [userId ?? '', sessionId ?? ''],
      })
      return rows.map(listed)
    },
    close: () => database.close(),
  }
}

type Sign = (claims: Record<string, unknown>) => Promise<string>

async function createSigner(settings: Settings, keySource: KeySource): Promise<Sign> {
  const keys = await createKeyRing(keySource, {
    scheduler: systemScheduler,
    fetchJson: () => Promise.reject(new Error('not fetched here')),
    algorithms: settings.jwtAlgorithms,
    log: { info() {}, warn() {}, error() {} },
  })
  keys.close()
  const {
    secrets: [secret],
    algorithms,
  } = keys
  if (secret === undefined)
    throw new Error(
      'tokens are signed with JWT_SECRET or JWT_SECRET_FILE; the gateway holds only public keys',
    )
  const { jwtIssuer: iss, jwtAudience: aud } = settings
  return (claims) => {
    const jwt = new SignJWT({
      ...claims,
      ...(iss === null ? {} : { iss }),
      ...(aud === null ? {} : { aud }),
    })
    return jwt.setProtectedHeader({ alg: algorithms[0] ?? 'HS256', typ: 'JWT' }).sign(secret)
  }
}

function listed(cells: readonly Cell[]): ListedToken {
  const [id, userId, sessionId, mandateId, status, expired, epoch] = cells
  // Beyond what a date can be (ECMA-262, section 21.4.1.1), as `infinity` is, it is told as it stands.
  const within = typeof epoch === 'number' && Math.abs(epoch) <= 8.64e12
  return {
    id: String(id),
    userId: String(userId ?? ''),
    sessionId: String(sessionId ?? ''),
    mandateId: mandateId === null ? null : String(mandateId),
    status: String(status),
    expired: expired === true,
    expiresAt: within ? new Date(epoch * 1000).toISOString() : epoch === null ? null : String(epoch),
  }
}
