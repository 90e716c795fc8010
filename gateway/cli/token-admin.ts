import { randomUUID } from 'node:crypto'
import { openTokenStore } from '../app/token-parts.ts'
import type { KeySource } from '../auth/jwt/key-ring.ts'
import { createKeyRing } from '../auth/jwt/keys.ts'
import { createTokenSigner, type TokenSigner } from '../auth/jwt/token-signer.ts'
import { canonicalValue } from '../auth/token-store/column-values.ts'
import { type MappedColumn, type MappedTable, tableCheckStatement } from '../auth/token-store/mapped-table.ts'
import {
  equalsParameterSql,
  identityFromCell,
  insertStatement,
  isActiveSql,
  mandateFromCell,
  revokeSql,
  rowColumnsSql,
} from '../auth/token-store/row-statements.ts'
import { expirySql } from '../auth/token-store/token-expiry.ts'
import { isoTime, MAX_DATE_MS } from '../core/iso-time.ts'
import { SILENT_LOG } from '../core/log.ts'
import { systemScheduler } from '../core/scheduler.ts'
import { type Cell, DatabaseError, type Query } from '../database/database.ts'
import { parseDatabaseUrl } from '../database/url.ts'
import type { Settings } from '../settings/values.ts'

/** Issues, revokes and lists tokens by hand, for a first try and for emergencies. In operation the backends do this. */
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
  /** Null for a new session. */
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
  /** The value of the column. */
  readonly status: string | null
  /** True where it is the status that admits. */
  readonly active: boolean
  /** By the database's clock. */
  readonly expired: boolean
  /** ISO 8601; null where the token's own `exp` alone decides. */
  readonly expiresAt: string | null
}

export interface TokenAdminParts {
  readonly settings: Settings
  readonly databaseUrl: string
  /** Null where no token is issued. */
  readonly keySource: KeySource | null
}

/** Long enough for a slow network, and short enough for a person who waits for the command. */
const TIMEOUT_MS = 10_000

export function openTokenAdmin({ settings, databaseUrl, keySource }: TokenAdminParts): TokenAdmin {
  const { database, table, watch, close } = openTokenStore(settings, {
    url: databaseUrl,
    connections: 1,
    scheduler: systemScheduler,
    written: false,
  })

  /**
   * Of several hosts only the primary can be written to, and only its rows are sure to be current. One that was replaced
   * would take a revocation that nobody sees, so all hosts are looked at before. The task is retried only while nothing
   * can have been written.
   */
  async function atPrimary<T>(task: (mapped: MappedTable, query: Query) => Promise<T>): Promise<T> {
    await watch.first
    const { length: hosts } = parseDatabaseUrl(databaseUrl).hosts
    let begun = false
    let late = 0
    const tryOnce = (mapped: MappedTable, leftMs: number) =>
      database.transaction(async (query) => {
        await query(tableCheckStatement(mapped))
        begun = true
        return task(mapped, query)
      }, leftMs)
    for (let left = hosts * 2; ; left--) {
      try {
        return await table.withMapped(TIMEOUT_MS, tryOnce)
      } catch (error) {
        if (begun || left <= 1 || !(error instanceof DatabaseError)) throw error
        // The connections go on to the next host when one is silent; at a gateway it is the next request that sees it.
        const isNextUntried = error.code === 'DEADLINE' && ++late < hosts
        if (!error.stale && !isNextUntried) throw error
      }
    }
  }

  return {
    async issue(token, uses) {
      const session = token.sessionId ?? randomUUID()
      const iat = Math.floor(Date.now() / 1000)
      const exp = iat + token.ttlS
      const { userId, mandateId } = token
      const signer = await openSigner(settings, keySource)
      const issued = await Promise.all(
        uses.map(async (use) => {
          const id = randomUUID()
          const claims = { jti: id, userId, sessionId: session, mandateId, type: use, iat, exp }
          return { id, jwt: await signer.sign(claims) }
        }),
      )
      await atPrimary(async (mapped, query) => {
        requireUuidColumn(mapped.id)
        const rows = issued.map(({ id }) => ({ id, userId, sessionId: session, mandateId, exp }))
        await query(insertStatement(mapped, rows, null))
      })
      return issued
    },
    revoke: ({ by, value }) =>
      atPrimary(async (mapped, query) => {
        const statement = {
          text: revokeText(mapped, mapped[by]),
          parameters: [canonicalValue(mapped[by].type, by === 'id' ? value.trim() : value)],
        }
        const revokeOnce = async () => Number((await query(statement))[0]?.[0])
        // An update that waits for a refresh of the same session does not see the tokens that the refresh inserts.
        let revoked = await revokeOnce()
        for (let more = await revokeOnce(); more > 0; more = await revokeOnce()) revoked += more
        return revoked
      }),
    list: (which) =>
      atPrimary(async (mapped, query) => {
        const filters = (['userId', 'sessionId'] as const).filter((key) => which[key] !== null)
        const text = listText(mapped, filters, which)
        const parameters = filters.map((key) => canonicalValue(mapped[key].type, which[key]!))
        return (await query({ text, parameters })).map((cells) => toListedToken(cells, mapped))
      }),
    close,
  }
}

/** The ids of new tokens are uuids. */
function requireUuidColumn({ sql, type }: MappedColumn): void {
  if (!/^(?:int[248]|numeric)$/.test(type)) return
  throw new Error(
    `tokens cannot be issued: their ids are uuids, and the column ${sql} is of type ${type}; expected text, varchar or uuid`,
  )
}

function revokeText(mapped: MappedTable, by: MappedColumn): string {
  return `with revoked as (${revokeSql(mapped, equalsParameterSql(by, 1))} returning 1)
          select count(*)::int4 from revoked`
}

function listText(
  mapped: MappedTable,
  filters: readonly ('userId' | 'sessionId')[],
  { activeOnly, limit }: Listing,
): string {
  const { id, expiresAt } = mapped
  const { epoch, expired } = expirySql(expiresAt.sql, expiresAt.type)
  const active = `${isActiveSql(mapped)} and (${expired}) is not true`
  const where = [
    ...filters.map((key, i) => equalsParameterSql(mapped[key], i + 1)),
    ...(activeOnly ? [active] : []),
  ]
  return `select ${rowColumnsSql(mapped)}, (${expired}) is true, ${epoch} from ${mapped.name}
          ${where.length === 0 ? '' : `where ${where.join(' and ')}`}
          order by ${expiresAt.sql} desc, ${id.sql} limit ${limit}`
}

async function openSigner(settings: Settings, keySource: KeySource | null): Promise<TokenSigner> {
  if (keySource === null) throw new Error('tokens cannot be issued without a key')
  const keys = await createKeyRing(keySource, {
    scheduler: systemScheduler,
    fetchJson: () => Promise.reject(new Error('not fetched here')),
    algorithms: settings.jwtAlgorithms,
    log: SILENT_LOG,
  })
  keys.close()
  return createTokenSigner({ keys, issuer: settings.jwtIssuer, audience: settings.jwtAudience })
}

function toListedToken(cells: readonly Cell[], { statuses }: MappedTable): ListedToken {
  const [id, userId, sessionId, mandateId, status, expired, epoch] = cells
  // `infinity`, and what no date can represent, is shown as in the column.
  const isDate = typeof epoch === 'number' && Math.abs(epoch * 1000) <= MAX_DATE_MS
  return {
    id: String(id),
    userId: identityFromCell(userId!),
    sessionId: identityFromCell(sessionId!),
    mandateId: mandateFromCell(mandateId!),
    status: status === null ? null : String(status),
    active: status === statuses.admitting,
    expired: expired === true,
    expiresAt: isDate ? isoTime(epoch * 1000) : epoch === null ? null : String(epoch),
  }
}
