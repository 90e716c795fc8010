import { readFileSync, writeFileSync } from 'node:fs'
import { COMMANDS } from '../cli/commands.ts'
import { formatHelp } from '../cli/help.ts'
import { paintFor } from '../cli/terminal.ts'
import { routingJsonSchema } from '../routing/file/file-schema.ts'
import { GROUPS } from '../settings/table.ts'
import { routingReference } from './routing-reference.ts'
import { settingsReference } from './settings-reference.ts'

/*
 * Writes what is generated from the code; with `--check` it only names the files that differ.
 */

const schema = routingJsonSchema()

const HEAD = `# Configuration

This page is made from the code, by \`npm run generate\`; change it there. Settings are environment variables; what goes
where is in the routing file.

`

const COMMANDS_HEAD = `# The command line

What \`poweron-gateway help COMMAND\` prints; made from the code, by \`npm run generate\`. In a clone, run
\`alias poweron-gateway="node $PWD/gateway/bin.mjs"\` first. These npm scripts do the same:

| command | npm script |
|---|---|
| \`poweron-gateway token …\` | \`npm run --silent token -- …\` |
| \`poweron-gateway explain …\` | \`npm run --silent explain -- …\` |
| \`poweron-gateway check …\` | \`npm run --silent routes -- …\` |
| \`poweron-gateway schema\` | \`npm run --silent schema-sql\` |

`

const plain = paintFor({ write: () => {} }, {})

function commandsReference(): string {
  const pages = COMMANDS.map(
    (command) => `## ${command.name}\n\n\`\`\`text\n${formatHelp(command, plain)}\`\`\`\n`,
  )
  return `${COMMANDS_HEAD}${pages.join('\n')}`
}

const FILES: Readonly<Record<string, () => string>> = {
  'upstreams.schema.json': () => `${JSON.stringify(schema, null, 2)}\n`,
  'docs/configuration.md': () => `${HEAD}${settingsReference(GROUPS)}\n${routingReference(schema)}`,
  'docs/command-line.md': commandsReference,
}

for (const [name, text] of Object.entries(FILES)) {
  const file = new URL(`../../${name}`, import.meta.url)
  if (!process.argv.includes('--check')) writeFileSync(file, text())
  else if (readFileSync(file, 'utf8') !== text()) {
    console.error(`${name} differs from what the code generates; run "npm run generate"`)
    process.exitCode = 1
  }
}
