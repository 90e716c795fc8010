import t from 'tap'
import { fillTemplate, parseTemplate } from '../../../gateway/core/error-pages/page-template.ts'

const VALUES = { status: '503', code: 'draining', title: 'a title', requestId: 'r-1' }

function fill(text: string, values = VALUES): string {
  const parsed = parseTemplate(text)
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.problems))
  return fillTemplate(parsed.template, values)
}

function problemsOf(text: string): string[] {
  const parsed = parseTemplate(text)
  return parsed.ok
    ? []
    : parsed.problems.map(
        ({ position: { line, column }, found, expected }) => `${line}:${column} ${found}, ${expected}`,
      )
}

t.test('every placeholder is filled in, however often it occurs, and nothing else changes', async (t) => {
  t.equal(
    fill('<b>{{status}}</b>{{code}}{{ title }}{{requestId}} {{status}}'),
    '<b>503</b>draininga titler-1 503',
  )
  t.equal(fill('no placeholder'), 'no placeholder')
  t.equal(fill(''), '')
  t.equal(fill('@media print{a{b:c}} {x} $& $1 {{code}}'), '@media print{a{b:c}} {x} $& $1 draining')
})

t.test('attack: markup in a value is shown as text, in elements and in attributes', async (t) => {
  const requestId = `"><script>alert('1')</script>&amp;`
  t.equal(
    fill('<a title="{{requestId}}">', { ...VALUES, requestId }),
    '<a title="&quot;&gt;&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&amp;amp;">',
  )
})

t.test('a value that looks like a placeholder is not filled in again', async (t) => {
  t.equal(fill('{{title}}', { ...VALUES, title: '{{code}}' }), '{{code}}')
})

const EXPECTED = '{{status}}, {{code}}, {{title}} or {{requestId}}'
const BAD: readonly (readonly [text: string, problem: string])[] = [
  ['<p>\n  {{stauts}}', `2:3 the unknown placeholder "{{stauts}}", ${EXPECTED}; did you mean "status"?`],
  ['{{path}}', `1:1 the unknown placeholder "{{path}}", ${EXPECTED}`],
  ['{{Status}}', `1:1 the unknown placeholder "{{Status}}", ${EXPECTED}; did you mean "status"?`],
  ['\r\n{{__proto__}}', `2:1 the unknown placeholder "{{__proto__}}", ${EXPECTED}`],
  ['a {{status} b', `1:3 the broken placeholder "{{status} b", ${EXPECTED}`],
  ['{{status', `1:1 the broken placeholder "{{status", ${EXPECTED}`],
  ['{{}}', `1:1 the broken placeholder "{{}}", ${EXPECTED}`],
  ['{{{title}}}', `1:1 the broken placeholder "{{{title}}}", ${EXPECTED}`],
  ['{{request id}}', `1:1 the broken placeholder "{{request id}}", ${EXPECTED}`],
  ['{{', `1:1 the broken placeholder "{{", ${EXPECTED}`],
]
for (const [text, problem] of BAD) {
  t.test(`is refused with its place: ${JSON.stringify(text)}`, async (t) => {
    t.same(problemsOf(text), [problem])
  })
}

t.test('all problems are named at once, up to a hundred', async (t) => {
  t.equal(problemsOf('{{a}} {{status}} {{b}}\n{{').length, 3)
  t.equal(problemsOf('{{x}}'.repeat(100_000)).length, 100)
})
