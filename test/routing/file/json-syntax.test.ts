import fc from 'fast-check'
import t from 'tap'
import { findSyntaxProblem } from '../../../gateway/routing/file/json-syntax.ts'
import { jsonPointer, parseJson } from '../../../gateway/routing/file/source-positions.ts'

const RUNS = { numRuns: 3000, seed: 20240607 }

t.test(
  'the position of a syntax problem is that of the first character that no JSON text could have there',
  (t) => {
    // The offending character follows the mark.
    const cases = [
      '{"a":1,¦}',
      '[1,¦]',
      '[1 ¦2]',
      '{"a":1 ¦"b":2}',
      '{"a" ¦1}',
      '{"a":¦}',
      '{¦a:1}',
      "{¦'a':1}",
      '[1,¦,2]',
      '[¦}',
      '{} ¦x',
      '¦// comment\n{}',
      '{ ¦/* comment */ }',
      '¦NaN',
      '¦True',
      'tr¦oe',
      'nul¦,',
      '0¦1',
      '-¦x',
      '1.¦,',
      '1e¦,',
      '1e+¦',
      '¦.5',
      '¦+1',
      '"a¦\nb"',
      '"a¦\tb"',
      '"\\¦x"',
      '"\\u12¦G4"',
      '"abc¦',
      '{"a":1¦',
      '[¦',
      'tru¦',
      '¦',
      ' \n¦',
      '¦\ufeff{}',
      '¦\0',
      '{}¦\0',
    ]
    for (const marked of cases) {
      const text = marked.replace('¦', '')
      t.equal(findSyntaxProblem(text)?.offset, marked.indexOf('¦'), JSON.stringify(marked))
    }
    t.end()
  },
)

t.test('a problem names the character found, an invisible one by its number', (t) => {
  t.match(findSyntaxProblem('[1,]'), { found: '"]"', expected: 'a value' })
  t.match(findSyntaxProblem('{"a":1,}'), { found: '"}"', expected: 'a key in double quotes' })
  t.match(findSyntaxProblem('{"a":1'), { found: 'the end of the file', expected: 'a comma or "}"' })
  t.match(findSyntaxProblem(''), { found: 'an empty file' })
  t.match(findSyntaxProblem('\ufeff{}'), { found: 'a byte order mark' })
  t.match(findSyntaxProblem('// x'), { found: 'a comment' })
  t.match(findSyntaxProblem('\0'), { found: 'U+0000' })
  t.match(findSyntaxProblem('\u00a0{}'), { found: 'U+00A0' })
  t.end()
})

t.test('nesting deeper than 64 levels is refused', (t) => {
  t.match(findSyntaxProblem('['.repeat(1_000_000)), { offset: 64, expected: /64 levels/ })
  t.match(findSyntaxProblem('{"a":'.repeat(1_000_000)), { offset: 64 * 5 })
  t.equal(findSyntaxProblem('['.repeat(64) + ']'.repeat(64)), null)
  t.end()
})

t.test('a very long string is read', (t) => {
  t.equal(findSyntaxProblem(`"${'a\\n'.repeat(500_000)}"`), null)
  t.end()
})

const jsonText = fc.json({ maxDepth: 4 })
const damaged = fc
  .tuple(
    jsonText,
    fc.nat(),
    fc.nat(3),
    fc.constantFrom('', ',', '"', '}', ']', '{', '[', ':', '1', 't', '\\', '\n', '\0'),
  )
  .map(([text, at, removed, inserted]) => {
    const offset = at % (text.length + 1)
    return text.slice(0, offset) + inserted + text.slice(offset + removed)
  })

t.test(
  'exactly the texts that JSON.parse accepts are accepted, and reported positions agree with its own',
  (t) => {
    let refused = 0
    const property = fc.property(fc.oneof(jsonText, damaged), (text) => {
      const problem = findSyntaxProblem(text)
      try {
        JSON.parse(text)
        return problem === null
      } catch (error) {
        refused++
        const place = /at position (\d+)/.exec((error as Error).message)?.[1]
        return problem !== null && (place === undefined || problem.offset === Number(place))
      }
    })
    t.doesNotThrow(() => fc.assert(property, RUNS))
    t.ok(refused > RUNS.numRuns / 5, 'a fair share was refused')
    t.end()
  },
)

t.test('an accepted text has the same value as by JSON.parse', (t) => {
  const property = fc.property(jsonText, (text) => {
    const parsed = parseJson(text)
    return parsed.kind === 'ok' && JSON.stringify(parsed.value) === JSON.stringify(JSON.parse(text))
  })
  t.doesNotThrow(() => fc.assert(property, RUNS))
  t.end()
})

t.test('lines and columns are counted from 1, with any kind of line end', (t) => {
  for (const end of ['\n', '\r\n', '\r']) {
    const parsed = parseJson(`{${end}  "a": [${end}    1, {"b": "é\u{1f600}", "c": 2}]}`)
    if (parsed.kind === 'bad') throw new Error('not parsed')
    const { positions } = parsed
    t.same(positions.ofValue([]), { line: 1, column: 1 })
    t.same(positions.ofKey(['a']), { line: 2, column: 3 })
    t.same(positions.ofValue(['a']), { line: 2, column: 8 })
    t.same(positions.ofValue(['a', 0]), { line: 3, column: 5 })
    t.same(positions.ofKey(['a', 1, 'c']), { line: 3, column: 21 })
    t.same(positions.ofValue(['a', 1, 'missing', 'x']), { line: 3, column: 8 })
    t.equal(positions.textOf(['a', 1, 'c']), '2')
    t.equal(positions.textOf(['a', 1, 'missing']), '')
    const bad = parseJson(`{${end}${end} x`)
    t.match(bad, { problem: { line: 3, column: 2 } })
  }
  t.end()
})

t.test('a key that occurs twice in an object is reported with both positions', (t) => {
  const parsed = parseJson('{"a": 1,\n "b": [{"c": 1, "\\u0063": 2}],\n "a": 3}')
  t.match(parsed, {
    duplicates: [
      { path: ['a'], position: { line: 3, column: 2 }, first: { line: 1, column: 2 } },
      { path: ['b', 0, 'c'], position: { line: 2, column: 17 } },
    ],
  })
  t.end()
})

t.test('a pointer escapes tildes and slashes (RFC 6901)', (t) => {
  t.equal(jsonPointer([]), '')
  t.equal(jsonPointer(['routes', 0, 'a/b~c', '']), '/routes/0/a~1b~0c/')
  t.end()
})
