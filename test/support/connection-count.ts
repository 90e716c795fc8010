import type postgres from 'postgres'

/** How many connections each gateway's role had on the server at once, at most. */
export interface ConnectionCount {
  /** By role and name of the application, such as `app_plain poweron-gateway`; and by role alone. */
  readonly most: ReadonlyMap<string, number>
  readonly samples: number
  /** Counts from now on as often as the server answers. */
  hurry(): void
  stop(): Promise<void>
}

const EVERY_MS = 50

/** @param sql one connection of a superuser's, open already: of a server that is full it would get none */
export function countConnections(sql: postgres.Sql, roles: readonly string[]): ConnectionCount {
  const most = new Map<string, number>()
  let samples = 0
  let everyMs = EVERY_MS
  let running = true

  const note = (key: string, count: number) => most.set(key, Math.max(count, most.get(key) ?? 0))

  async function sample(): Promise<void> {
    const rows = await sql<{ role: string; name: string; count: number }[]>`
      select usename as role, application_name as name, count(*)::int as count from pg_stat_activity
      where usename in ${sql(roles)} group by usename, application_name`
    samples++
    const totals = new Map<string, number>()
    for (const { role, name, count } of rows) {
      note(`${role} ${name}`, count)
      totals.set(role, (totals.get(role) ?? 0) + count)
    }
    for (const [role, count] of totals) note(role, count)
  }

  const done = (async () => {
    while (running) {
      await sample()
      await new Promise((resolve) => setTimeout(resolve, everyMs))
    }
  })()
  return {
    most,
    get samples() {
      return samples
    },
    hurry() {
      everyMs = 2
    },
    async stop() {
      running = false
      await done
    },
  }
}
