import { execFileSync } from 'node:child_process'
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { loadErrorPages, pagesMark } from '../../../gateway/core/error-pages/pages-folder.ts'

async function problemsOf(folder: string): Promise<readonly string[]> {
  const loaded = await loadErrorPages(folder, { shown: 'pages' })
  return loaded.ok ? [] : loaded.problems
}

t.test('pages are read by their names, through links too, and other files are left alone', async (t) => {
  const folder = t.testdir({
    'draining.html': 'a',
    'logo.png': Buffer.from([0xff, 0xfe]),
    'README.md': '{{nothing}}',
    '..data': { '503.html': 'b' },
  })
  symlinkSync(join('..data', '503.html'), join(folder, '503.html'))
  const loaded = await loadErrorPages(folder)
  t.match(loaded, { ok: true, texts: { 'draining.html': 'a', '503.html': 'b' }, warnings: [] })
})

t.test('a folder that is missing, a file, or may not be read is named', async (t) => {
  const folder = t.testdir({ file: 'x' })
  const expected = 'expected a readable folder (ERROR_PAGES_DIR)'
  t.same(await problemsOf(join(folder, 'none')), [`pages:1:1: : found no such folder (ENOENT), ${expected}`])
  t.same(await problemsOf(join(folder, 'file')), [`pages:1:1: : found no folder (ENOTDIR), ${expected}`])
})

t.test('every problem of every page is named at once, with file, line and column', async (t) => {
  const folder = t.testdir({
    '404.html': '<p>\n{{stauts}} {{',
    '502.html': '',
    'error.html': Buffer.from('<p>\né\xff', 'latin1'),
    '504.html': {},
    'overloaded.html': 'good',
  })
  t.match(await problemsOf(folder), [
    /^pages\/404\.html:2:1: : found the unknown placeholder "\{\{stauts\}\}", expected /,
    /^pages\/404\.html:2:12: : found the broken placeholder "\{\{", expected /,
    'pages/502.html:1:1: : found an empty file, expected HTML',
    'pages/504.html:1:1: : found a folder (EISDIR), expected a readable file of HTML in UTF-8',
    'pages/error.html:2:1: : found the byte 0xE9, expected a readable file of HTML in UTF-8',
  ])
})

t.test('attack on the start: a page that is a pipe, or without end, is not waited for', async (t) => {
  const folder = t.testdir({})
  execFileSync('mkfifo', [join(folder, '503.html')])
  symlinkSync('/dev/zero', join(folder, '502.html'))
  writeFileSync(join(folder, '504.html'), Buffer.alloc(1024 * 1024 + 1, 'a'))
  t.match(await problemsOf(folder), [
    /^pages\/502\.html:1:1: : found a pipe, socket or device, /,
    /^pages\/503\.html:1:1: : found a pipe, socket or device, /,
    /^pages\/504\.html:1:1: : found more than 1 MiB, /,
  ])
})

t.test('a page whose name no error has is a warning, and so is a folder without a page', async (t) => {
  const folder = t.testdir({ '503.html': 'a', 'overlaoded.html': 'b', '500.html': 'c' })
  const loaded = await loadErrorPages(folder, { shown: 'pages' })
  t.match(loaded, {
    ok: true,
    warnings: [
      /^pages\/500\.html:1:1: : warning: found a name that no error has, expected CODE\.html, STATUS\.html or error\.html/,
      /^pages\/overlaoded\.html:1:1: : warning: .*; did you mean "overloaded\.html"\?$/,
    ],
  })
  const { ok } = await loadErrorPages(folder, { shown: 'pages', strict: true })
  t.equal(ok, false, 'or a problem, where warnings count as such')
  const empty = t.testdir({ notes: 'x' })
  t.match(await loadErrorPages(empty, { shown: 'pages' }), {
    ok: true,
    warnings: [/^pages:1:1: : warning: found no page/],
  })
})

t.test(
  'the mark changes with the content of a page, with its target, and with the set of pages',
  async (t) => {
    const folder = t.testdir({ '503.html': 'a', one: { '502.html': 'a' }, two: { '502.html': 'b' } })
    const marks = new Set([await pagesMark(folder)])
    writeFileSync(join(folder, '503.html'), 'ab')
    marks.add(await pagesMark(folder))
    symlinkSync(join('one', '502.html'), join(folder, '502.html'))
    marks.add(await pagesMark(folder))
    execFileSync('ln', ['-sfn', join('two', '502.html'), join(folder, '502.html')])
    marks.add(await pagesMark(folder))
    mkdirSync(join(folder, 'notes'))
    const before = await pagesMark(folder)
    t.equal(marks.size, 4)
    t.ok(marks.has(before), 'other files do not count')
    t.not(await pagesMark(join(folder, 'none')), before)
  },
)
