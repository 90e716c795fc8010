import { promises } from 'node:dns'
import { SILENT_LOG } from '../../gateway/core/log.ts'
import { systemScheduler } from '../../gateway/core/scheduler.ts'
import { createSystemNames } from '../../gateway/names/names.ts'

/* A program: prints what our resolver and getaddrinfo each find for the names of its command line, as JSON. */

const names = createSystemNames({ scheduler: systemScheduler, log: SILENT_LOG })

interface Found {
  readonly address: string
}

function shown(addresses: readonly Found[]): string {
  return addresses
    .map(({ address }) => address)
    .toSorted()
    .join(' ')
}

const codeOf = (error: unknown) => (error as NodeJS.ErrnoException).code ?? String(error)

async function byUs(name: string): Promise<string> {
  return new Promise((resolve) =>
    names.lookup(name, { all: true }, (error, found) =>
      resolve(error === null ? shown(found as unknown as Found[]) : codeOf(error)),
    ),
  )
}

async function bySystem(name: string): Promise<string> {
  return promises.lookup(name, { all: true }).then(shown, codeOf)
}

const results = []
for (const name of process.argv.slice(2))
  results.push({ name, ours: await byUs(name), system: await bySystem(name) })
process.stdout.write(JSON.stringify(results))
names.close()
