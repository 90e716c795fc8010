import { existsSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { dirname, join, normalize } from 'node:path'
import t from 'tap'
import { ERROR_CODES, type ErrorCode } from '../../gateway/core/errors.ts'
import { headings, inRepository, readText } from '../support/repository.ts'

t.test('every code has a section in docs/operating.md, and every section there has a code', async (t) => {
  const sections = headings('docs/operating.md', 3).filter((title) => /^[a-z_]+$/.test(title))
  t.same(new Set(sections), new Set<ErrorCode>(ERROR_CODES))
  t.equal(new Set(sections).size, sections.length)
})

t.test('documents name only files that exist', async (t) => {
  const documents = [
    'README.md',
    'CONTRIBUTING.md',
    'bench/README.md',
    'deploy/README.md',
    ...(await readdir(inRepository('docs')))
      .filter((name) => name.endsWith('.md'))
      .map((name) => `docs/${name}`),
  ]
  const inRoot = /`((?:bench|deploy|docs|gateway|test)\/[\w./-]+)`/g
  const rooms = (await readdir(inRepository('gateway'), { withFileTypes: true }))
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => name)
  const inRoom = new RegExp(`\`((?:${rooms.join('|')})/[\\w./-]+\\.ts)\``, 'g')
  for (const document of documents) {
    const text = readText(document)
    const linked = [...text.matchAll(/\]\(([^)#:\s]+)(?:#[^)]*)?\)/g)].map(([, to = '']) =>
      normalize(join(dirname(document), to)),
    )
    const named = [...text.matchAll(inRoot)]
      .map(([, to = '']) => to)
      .filter((to) => !to.includes('node_modules'))
    const inGateway = [...text.matchAll(inRoom)].map(([, to = '']) => `gateway/${to}`)
    const missing = [...linked, ...named, ...inGateway].filter((path) => !existsSync(inRepository(path)))
    t.same(missing, [], document)
  }
})

/** The anchor that GitHub makes from a heading. */
function anchorOf(heading: string): string {
  return heading
    .toLowerCase()
    .replaceAll(/[^\w\- ]/g, '')
    .replaceAll(' ', '-')
}

t.test('links into a document point to a section that exists', async (t) => {
  const documents = [
    'README.md',
    'CONTRIBUTING.md',
    'docs/operating.md',
    'docs/migration.md',
    'deploy/README.md',
  ]
  for (const document of documents) {
    for (const [, to = '', anchor = ''] of readText(document).matchAll(/\]\(([^)#:\s]*)#([^)]+)\)/g)) {
      const target = to === '' ? document : normalize(join(dirname(document), to))
      const anchors = [1, 2, 3, 4].flatMap((level) => headings(target, level)).map(anchorOf)
      t.ok(anchors.includes(anchor), `${document}: ${to}#${anchor}`)
    }
  }
})
