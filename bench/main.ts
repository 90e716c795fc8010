import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { compareContenders } from './compare.ts'
import { measureFlood } from './flood.ts'
import { measureGrowth } from './growth.ts'
import { measureLatency } from './latency.ts'
import { machineLine } from './machine.ts'
import { measureManyConnections } from './many-connections.ts'
import { measureMemory } from './memory.ts'
import { type Part, readOptions } from './options.ts'
import { measureScaling } from './scaling.ts'
import { setUpStage } from './stage.ts'
import { measureStreams } from './streams.ts'
import { measureTls } from './tls.ts'
import { measureYoungGeneration } from './young-generation.ts'

const RUN_PART = {
  compare: compareContenders,
  latency: measureLatency,
  connections: measureManyConnections,
  growth: measureGrowth,
  flood: measureFlood,
  memory: measureMemory,
  young: measureYoungGeneration,
  streams: measureStreams,
  scaling: measureScaling,
  tls: measureTls,
} satisfies Record<Part, unknown>

const HERE = new URL('.', import.meta.url).pathname

/** The packages of other contenders are not the gateway's dependencies, so the first run installs them. */
function installContenders(): void {
  if (existsSync(`${HERE}node_modules/http-proxy-3`)) return
  execFileSync('npm', ['ci', '--prefix', HERE], { stdio: 'inherit' })
}

async function main(): Promise<void> {
  const options = readOptions(process.argv.slice(2))
  if (typeof options === 'string') {
    process.stdout.write(options)
    return
  }
  installContenders()
  const stage = await setUpStage()
  try {
    process.stdout.write(`${machineLine(stage.machine)}; backend: ${stage.backend.name}\n`)
    for (const part of options.parts) await RUN_PART[part](stage, options)
  } finally {
    await stage.close()
  }
}

for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1))

await main()
