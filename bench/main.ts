import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { compare } from './compare.ts'
import { flood } from './flood.ts'
import { growth } from './growth.ts'
import { latency } from './latency.ts'
import { machineLine } from './machine.ts'
import { memory } from './memory.ts'
import { type Part, readOptions } from './options.ts'
import { scaling } from './scaling.ts'
import { setUpStage } from './stage.ts'
import { streams } from './streams.ts'
import { tls } from './tls.ts'
import { youngGeneration } from './young-generation.ts'

const RUN = {
  compare,
  latency,
  growth,
  flood,
  memory,
  young: youngGeneration,
  streams,
  scaling,
  tls,
} satisfies Record<Part, unknown>

const HERE = new URL('.', import.meta.url).pathname

/** Contenders' packages are installed for the first run only: the product does without them. */
function installContenders(): void {
  if (existsSync(`${HERE}node_modules/fastify`)) return
  execFileSync('npm', ['ci', '--prefix', HERE], { stdio: 'inherit' })
}

async function main(): Promise<void> {
  const options = readOptions(process.argv.slice(2))
  installContenders()
  const stage = await setUpStage()
  try {
    process.stdout.write(`${machineLine(stage.machine)}; backend: ${stage.backend.name}\n`)
    for (const part of options.parts) await RUN[part](stage, options)
  } finally {
    await stage.close()
  }
}

for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1))

await main()
