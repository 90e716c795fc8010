import { readFileSync, writeFileSync } from 'node:fs'
import { upstreamsJsonSchema } from './upstreams-schema.ts'

/*
 * Writes `upstreams.schema.json`; with `--check` only says whether it is what the code would write.
 */

const file = new URL('../../upstreams.schema.json', import.meta.url)
const text = `${JSON.stringify(upstreamsJsonSchema(), null, 2)}\n`

if (!process.argv.includes('--check')) {
  writeFileSync(file, text)
} else if (readFileSync(file, 'utf8') !== text) {
  console.error('upstreams.schema.json is not what gateway/routing/write-schema.ts writes; run it again')
  process.exitCode = 1
}
