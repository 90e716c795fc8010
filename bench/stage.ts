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

/** An attacker may have collected about so many, and sends them repeatedly. */
const REVOKED = 100

/** What all contenders use during the whole run. */
export interface BenchStage extends Stage {
  readonly machine: Machine
  readonly database: BenchDatabase
  readonly backend: Backend
  readonly generateLoad: LoadGenerator
  readonly tokens: Readonly<Record<'active' | 'revoked' | 'forged', Tokens>>
  close(): Promise<void>
}

export interface Tokens {
  readonly list: readonly string[]
  /** A file with the same tokens, one a line. */
  readonly file: string
}

export async function setUpStage(): Promise<BenchStage> {
  const folder = await mkdtemp(join(tmpdir(), 'gateway-bench-'))
  const remove = () => rmSync(folder, { recursive: true, force: true })
  process.once('exit', remove)
  const database = await startDatabase(folder)
  const machine = await describeMachine(database.version)
  const backend = await startBackend(folder, machine.nginx !== null)
  await database.fillTable(ROWS)
  const tokens = {
    active: await writeTokens(folder, 'active', await activeTokens()),
    revoked: await writeTokens(folder, 'revoked', await revokedTokens(REVOKED)),
    forged: await writeTokens(folder, 'forged', await forgedTokens()),
  }
  return {
    folder,
    databaseUrl: database.url,
    backendPort: backend.port,
    machine,
    database,
    backend,
    generateLoad: chooseLoadGenerator(machine.loadGenerator),
    tokens,
    async close() {
      await backend.stop()
      await database.stop()
      process.off('exit', remove)
      await rm(folder, { recursive: true, force: true })
    },
  }
}

export async function writeTokens(folder: string, name: string, list: readonly string[]): Promise<Tokens> {
  const file = join(folder, `${name}.tokens`)
  await writeFile(file, `${list.join('\n')}\n`)
  return { list, file }
}
