import { access, readdir, readFile } from 'node:fs/promises'
import t from 'tap'

const ROOT = new URL('../../', import.meta.url)

t.test('every guarantee in docs/security.md names tests that exist', async (t) => {
  const text = await readFile(new URL('docs/security.md', ROOT), 'utf8')
  const section = text.slice(text.indexOf('## Guarantees'), text.indexOf('## Out of scope'))
  const rows = section.split('\n').filter((line) => line.startsWith('| ') && !line.startsWith('| guarantee'))
  t.ok(rows.length > 10, 'the table is read')
  for (const row of rows) {
    const files = row.match(/test\/[\w./-]+\.test\.ts/g) ?? []
    t.ok(files.length > 0, row)
    for (const file of files) await t.resolves(access(new URL(file, ROOT)), file)
  }
})

t.test('every file in test/attacks is named by a guarantee in docs/security.md', async (t) => {
  const text = await readFile(new URL('docs/security.md', ROOT), 'utf8')
  const attacks = (await readdir(new URL('test/attacks/', ROOT))).filter((name) => name.endsWith('.test.ts'))
  const own = 'promises.test.ts'
  t.same(
    attacks.filter((name) => name !== own && !text.includes(`test/attacks/${name}`)),
    [],
  )
})
