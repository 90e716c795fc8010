import { randomUUID } from 'node:crypto'
import postgres from 'postgres'
import { insertToken } from './postgres.ts'
import { inSeconds, signToken } from './tokens.ts'

export const USERS = 20
export const SESSIONS = 6
export const PASSWORD = 'a password of the tests'

export interface FaultData {
  readonly users: readonly { readonly userId: string; readonly cookie: string }[]
  readonly sessions: { cookie: string }[]
}

/** Users who work, sessions that are refreshed, and roles of least privilege. */
export async function fillDatabase(databaseUrl: string, roles: readonly string[]): Promise<FaultData> {
  const sql = postgres(databaseUrl, { max: 1, onnotice: () => {} })
  const users = await Promise.all(
    Array.from({ length: USERS }, async (_, i) => {
      const { id, userId } = await insertToken(sql, { userId: `user-${i}` })
      const jwt = await signToken({ claims: { jti: id, exp: inSeconds(3600) } })
      return { userId, cookie: `auth_token=${jwt}` }
    }),
  )
  const sessions = await Promise.all(
    Array.from({ length: SESSIONS }, async () => {
      const { id } = await insertToken(sql, { sessionId: randomUUID() })
      const jwt = await signToken({ claims: { jti: id, type: 'refresh', exp: inSeconds(3600) } })
      return { cookie: `refresh_token=${jwt}` }
    }),
  )
  for (const role of roles) {
    await sql.unsafe(`
      do $$ begin
        if not exists (select from pg_roles where rolname = '${role}') then
          create role ${role} login password '${PASSWORD}';
        end if;
      end $$;
      grant select, insert, update on "Token" to ${role}`)
  }
  await sql.end()
  return { users, sessions }
}
