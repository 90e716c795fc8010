import { createHash, randomUUID } from 'node:crypto'
import type postgres from 'postgres'
import t from 'tap'
import { readSettings } from '../../../gateway/settings/settings.ts'
import { startPostgres } from '../../support/postgres.ts'
import { readText } from '../../support/repository.ts'
import { createTableStage } from '../../support/token-table-stage.ts'

const DEADLINE_MS = 4000

const server = await startPostgres()
t.teardown(() => server.close())
const open = createTableStage(server)

/** The sections of the page with SQL and settings in them, by their headings. */
const examples = new Map(
  readText('docs/token-table.md')
    .split(/^### /m)
    .slice(1)
    .map((section) => {
      const block = (language: string) =>
        new RegExp(`^\`\`\`${language}\n(.*?)\`\`\``, 'ms').exec(section)?.[1] ?? ''
      return [
        section.slice(0, section.indexOf('\n')),
        { ddl: block('sql'), settings: block('text') },
      ] as const
    }),
)

interface Written {
  readonly jti: string
  readonly user: string
}

/** Of each example: what writes a token, and what revokes it. */
const BACKENDS: Readonly<
  Record<
    string,
    {
      insert(sql: postgres.Sql, seconds: number): Promise<Written>
      revoke(sql: postgres.Sql, jti: string): Promise<unknown>
    }
  >
> = {
  'A time of revocation in place of a status': {
    async insert(sql, seconds) {
      const jti = randomUUID()
      await sql`insert into access_tokens values (${jti}, 42, ${randomUUID()}, null, now() + make_interval(secs => ${seconds}))`
      return { jti, user: '42' }
    },
    revoke: (sql, jti) => sql`update access_tokens set revoked_at = now() where jti = ${jti}`,
  },
  'A table of revoked tokens beside the one of issued tokens': {
    async insert(sql, seconds) {
      const jti = randomUUID()
      await sql`insert into issued_tokens values (${jti}, 'alice', 's', null, now() + make_interval(secs => ${seconds}))`
      return { jti, user: 'alice' }
    },
    revoke: (sql, jti) => sql`insert into revoked_tokens values (${jti})`,
  },
  'Status and expiry of the session, not of the token': {
    async insert(sql, seconds) {
      const [jti, session, user] = [randomUUID(), randomUUID(), randomUUID()]
      await sql`insert into sessions values (${session}, ${user}, '', 'open', now() + make_interval(secs => ${seconds}) - interval '30 minutes')`
      await sql`insert into session_tokens values (${jti}, ${session})`
      return { jti, user }
    },
    revoke: (sql, jti) =>
      sql`update sessions set state = 'closed' where id = (select session_id from session_tokens where jti = ${jti})`,
  },
  'Microseconds, or text, for the expiry': {
    async insert(sql, seconds) {
      const jti = randomUUID()
      await sql`insert into odd_tokens values (${jti}, 'alice', 's', null, 'A', (extract(epoch from now()) + ${seconds}::int) * 1000000)`
      return { jti, user: 'alice' }
    },
    revoke: (sql, jti) => sql`update odd_tokens set state = 'R' where jti = ${jti}`,
  },
  'Hashed ids': {
    async insert(sql, seconds) {
      const hash = createHash('sha256').update(randomUUID()).digest()
      await sql`insert into hashed_tokens values (${hash}, 'alice', 's', null, 'ACTIVE', now() + make_interval(secs => ${seconds}))`
      return { jti: hash.toString('hex'), user: 'alice' }
    },
    revoke: (sql, jti) =>
      sql`update hashed_tokens set state = 'REVOKED' where encode(jti_sha256, 'hex') = ${jti}`,
  },
}

t.test('each example of docs/token-table.md is tested here', async (t) => {
  t.same(new Set(examples.keys()), new Set(Object.keys(BACKENDS)))
})

for (const [title, backend] of Object.entries(BACKENDS)) {
  t.test(`the example view of docs/token-table.md works: ${title}`, async (t) => {
    const { ddl, settings } = examples.get(title)!
    const read = readSettings(
      Object.fromEntries(
        settings
          .trim()
          .split(' ')
          .map((each) => each.split('=')),
      ),
    )
    if (!read.ok) throw new Error(read.problems.join('\n'))
    const { sql, table, statements } = await open(t, ddl, {
      table: read.settings.tokenTable.name,
      statuses: read.settings.tokenStatuses,
    })
    t.match(await table.checkMapping(DEADLINE_MS), { problems: [], warnings: [] })
    const [good, late] = [await backend.insert(sql, 600), await backend.insert(sql, -600)]
    const rows = await table.findMany([good.jti, late.jti, randomUUID()], DEADLINE_MS)
    t.match(rows.get(good.jti), { userId: good.user, mandateId: null, active: true, expired: false })
    t.match(rows.get(late.jti), { active: true, expired: true })
    t.equal(rows.size, 2)
    await backend.revoke(sql, good.jti)
    t.match((await table.findMany([good.jti], DEADLINE_MS)).get(good.jti), { active: false })
    const { text, parameters } = statements.at(-1)!
    await sql.unsafe(`set enable_seqscan = off; prepare look as ${text}`)
    const plan = JSON.stringify(await sql.unsafe(`explain execute look ('${parameters[0]}')`))
    t.notMatch(plan, 'Seq Scan', 'the index of the table below serves')
  })
}
