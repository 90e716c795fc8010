import { rmSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Backend, startBackend } from './backend.ts'
import type { Stage } from './contenders/contender.ts'
import {
  activeTokens,
  type BenchDatabase,
  forgedTokens,
  ROWS,
  revokedTokens,
  startDatabase,
} from './database.ts'
import { chooseLoadGenerator, type LoadGenerator } from './load-generator.ts'
import { describeMachine, type Machine } from './machine.ts'

/** As many as one who collected a few might send over and over. */
const REVOKED = 100

/** Everything that stands around the contenders for the whole run. */
export interface BenchStage extends Stage {
  readonly machine: Machine
  readonly database: BenchDatabase
  readonly backend: Backend
  readonly generate: LoadGenerator
  readonly tokens: Readonly<Record<'active' | 'revoked' | 'forged', Tokens>>
  close(): Promise<void>
}

export interface Tokens {
  readonly list: readonly string[]
  /** The same, one a line. */
  readonly file: string
}

export async function setUpStage(): Promise<BenchStage> {
  const folder = await mkdtemp(join(tmpdir(), 'gateway-bench-'))
  const remove = () => rmSync(folder, { recursive: true, force: true })
  process.once('exit', remove)
  const database = await startDatabase(folder)
  const machine = await describeMachine(database.version)
  const backend = await startBackend(folder, machine.nginx !== null)
  await database.fill(ROWS)
  const tokens = {
    active: await keep(folder, 'active', await activeTokens()),
    revoked: await keep(folder, 'revoked', await revokedTokens(REVOKED)),
    forged: await keep(folder, 'forged', await forgedTokens()),
  }
  return {
    folder,
    databaseUrl: database.url,
    backendPort: backend.port,
    machine,
    database,
    backend,
    generate: chooseLoadGenerator(machine.loadGenerator),
    tokens,
    async close() {
      await backend.stop()
      await database.stop()
      process.off('exit', remove)
      await rm(folder, { recursive: true, force: true })
    },
  }
}

export async function keep(folder: string, name: string, list: readonly string[]): Promise<Tokens> {
  const file = join(folder, `${name}.tokens`)
  await writeFile(file, `${list.join('\n')}\n`)
  return { list, file }
}
