import { randomBytes } from 'node:crypto'
import t from 'tap'
import { KeyError } from '../../../gateway/auth/jwt/key-error.ts'
import { parseSecret, parseSecretFile } from '../../../gateway/auth/jwt/secret-file.ts'

const PATH = '/run/secrets/jwt'
const OLD = 'the old secret, which is long enough'
const NEW = 'the new secret, which is long enough'
const BASE64 = randomBytes(96).toString('base64')

const read = (content: string | Buffer) => parseSecretFile(Buffer.from(content as string), PATH)
const secretsOf = (content: string | Buffer) =>
  read(content).secrets.map((secret) => secret.export().toString('latin1'))
const latin1 = (...secrets: (string | Buffer)[]) =>
  secrets.map((secret) => Buffer.from(secret as string).toString('latin1'))

function reasonsOf(content: string | Buffer): readonly string[] {
  try {
    read(content)
    return []
  } catch (error) {
    if (error instanceof KeyError) return error.reasons
    throw error
  }
}

for (const [what, content, expected] of [
  ['one line', OLD, [OLD]],
  ['one line with a line break', `${OLD}\n`, [OLD]],
  ['one line with line breaks of Windows', `${OLD}\r\n\r\n`, [OLD]],
  ['two lines', `${NEW}\n${OLD}\n`, [NEW, OLD]],
  ['two lines without a line break at the end', `${NEW}\n${OLD}`, [NEW, OLD]],
  ['two lines with line breaks of Windows', `${NEW}\r\n${OLD}\r\n`, [NEW, OLD]],
  ['empty lines before, between and behind', `\n\r\n${NEW}\n \n\n${OLD}\n\n`, [NEW, OLD]],
  ['the same secret twice', `${NEW}\n${OLD}\n${NEW}\n`, [NEW, OLD]],
] as const) {
  t.test(`a secret file of ${what} holds ${expected.length} secrets in their order`, async (t) => {
    t.same(secretsOf(content), latin1(...expected))
    t.same(read(content).warnings, [])
  })
}

t.test('a line that is too short is an error that names the line and no secret', async (t) => {
  const reasons = reasonsOf(`${OLD}\nhunter2\n\n${NEW}\nhunter3`)
  t.match(reasons, [
    /^\/run\/secrets\/jwt:2: the secret has 7 bytes; expected at least 32 in each line/,
    /^\/run\/secrets\/jwt:5: the secret has 7 bytes; expected at least 32 in each line/,
  ])
  t.notMatch(reasons.join(), /hunter|old secret/)
})

for (const [bytes, good] of [
  [31, false],
  [32, true],
] as const) {
  t.test(`a second secret of ${bytes} bytes is ${good ? 'long enough' : 'too short'}`, async (t) => {
    t.equal(reasonsOf(`${OLD}\n${'x'.repeat(bytes)}\n`).length, good ? 0 : 1)
  })
}

t.test('the length of a secret is counted in bytes', async (t) => {
  t.same(reasonsOf(`${OLD}\n${'é'.repeat(16)}`), [])
})

for (const [what, secret] of [
  ['a line break', Buffer.concat([Buffer.alloc(20, 0xf1), Buffer.from([10]), Buffer.alloc(20, 0xf2)])],
  ['a NUL', Buffer.concat([Buffer.from(OLD), Buffer.from([0, 10]), Buffer.from('more')])],
  ['bytes that are no text', Buffer.concat([Buffer.from([0xff]), Buffer.alloc(31, 0x80)])],
] as const) {
  t.test(`random bytes with ${what} are one unchanged secret`, async (t) => {
    t.same(secretsOf(secret), latin1(secret))
    t.same(secretsOf(Buffer.concat([secret, Buffer.from('\r\n')])), latin1(secret))
  })
}

t.test(
  'random bytes with line breaks give a warning, since they may be lines in another encoding',
  async (t) => {
    const latin = Buffer.from(`${NEW}é\n${OLD}é\n`, 'latin1')
    t.match(read(latin).warnings, [
      /is not UTF-8 text but holds line breaks; it counts as one secret of 75 bytes/,
    ])
    t.same(read(Buffer.alloc(32, 0xff)).warnings, [])
  },
)

t.test('any file of 32 bytes or more is read as secrets or is a KeyError', async (t) => {
  for (let i = 0; i < 2000; i++) {
    const bytes = randomBytes(32)
    const last = bytes[31]
    if (last === 10 || last === 13) continue
    t.same(secretsOf(bytes), latin1(bytes))
  }
})

t.test('a file in UTF-16 is an error that names the encoding', async (t) => {
  const little = Buffer.from(`\uFEFF${OLD}\r\n`, 'utf16le')
  t.match(reasonsOf(little), [/^\/run\/secrets\/jwt: is a text in UTF-16; expected UTF-8/])
  t.match(reasonsOf(little.subarray(2)), [/UTF-16; expected UTF-8/])
  t.match(reasonsOf(Buffer.from(little).swap16()), [/UTF-16; expected UTF-8/])
})

for (const [what, secret, expected] of [
  ['a byte order mark', `\uFEFF${OLD}`, 'begins with a byte order mark'],
  ['double quotes', `"${OLD}"`, 'is in quotes'],
  ['single quotes', `'${OLD}'`, 'is in quotes'],
  ['quotes of a word processor', `“${OLD}”`, 'is in quotes'],
  ['quotes behind a byte order mark', `\uFEFF"${OLD}"`, 'begins with a byte order mark, is in quotes'],
  ['white space before it', ` ${OLD}`, 'begins with white space'],
  ['white space behind it', `${OLD}\t`, 'ends with white space'],
  ['white space and quotes', ` "${OLD}" `, 'begins with white space, ends with white space, is in quotes'],
  ['the name of its variable', `JWT_SECRET=${OLD}`, 'begins with the name of a variable'],
  [
    'a line of a shell script',
    `export JWT_SECRET="${OLD}"`,
    'begins with the name of a variable, is in quotes',
  ],
  ['a line of YAML', `jwt-secret: ${OLD}`, 'begins with the name of a variable'],
  ['\\n written out', `${OLD}\\n`, 'ends with a backslash and a letter'],
  ['\\n written out in quotes', `"${OLD}\\n"`, 'is in quotes, ends with a backslash and a letter'],
  ['a JWK', `{"kty":"oct","k":"${OLD}"}`, 'is a JSON object'],
  ['a zero-width space in it', OLD.replace(' ', '\u200b'), 'holds characters that cannot be seen'],
] as const) {
  t.test(`${what} around a secret gives a warning with its line, and is part of the secret`, async (t) => {
    const { warnings } = read(`${NEW}\n${secret}\n`)
    t.match(warnings, [`/run/secrets/jwt:2: the secret ${expected}`])
    t.match(warnings[0], /; this counts as part of it; expected the secret alone$/)
    t.notMatch(warnings[0], /old secret/)
    t.same(secretsOf(`${NEW}\n${secret}\n`), latin1(NEW, secret))
    t.match(parseSecret(secret, 'JWT_SECRET').warnings, [`JWT_SECRET: the secret ${expected}`])
  })
}

t.test('JWT_SECRET is one secret, line breaks included', async (t) => {
  const { secrets, warnings } = parseSecret(`${NEW}\n${OLD}\n`, 'JWT_SECRET')
  t.same(
    secrets.map((secret) => secret.export().toString()),
    [`${NEW}\n${OLD}\n`],
  )
  t.match(warnings, [/ends with white space, holds characters that cannot be seen/])
})

for (const secret of [
  OLD,
  BASE64,
  `${BASE64.slice(0, 43)}=`,
  `akEy${BASE64.replaceAll(/[+/]/g, 'x').slice(0, 39)}=`,
  randomBytes(32).toString('hex'),
  `$ecret-with{braces}-and'quotes"-inside-of-it`,
  `"only the beginning has a quotation mark`,
  'correct horse battery staple correct horse',
]) {
  t.test(`${secret.slice(0, 12)}… gives no warning`, async (t) => {
    t.same(parseSecret(secret, 'JWT_SECRET').warnings, [])
    t.same(read(`${secret}\n`).warnings, [])
  })
}

t.test('wrapped base64 gives a warning, or an error where its last line is too short', async (t) => {
  const wrapped = `${BASE64.slice(0, 64)}\n${BASE64.slice(64)}\n`
  t.match(read(wrapped).warnings, [/one base64 text that a tool has broken into lines/])
  t.match(reasonsOf(`${BASE64.slice(0, 64)}\n${BASE64.slice(64, 86)}==\n`), [/:2: the secret has 24 bytes/])
  const hex = () => randomBytes(32).toString('hex')
  t.same(read(`${hex()}\n${hex()}\n`).warnings, [])
})

t.test('attack: a comment or a public key is refused as a secret', async (t) => {
  t.match(reasonsOf(`# rotated by ops, the old one goes in a week\n${OLD}\n`), [/:1: is a comment/])
  t.match(reasonsOf(`${OLD}\n// rotated by ops, the old one goes in a week`), [/:2: is a comment/])
  t.match(reasonsOf(`-----BEGIN ENCRYPTED PRIVATE KEY-----\n${BASE64.slice(0, 64)}\n`), [
    /:1: is PEM; expected/,
  ])
})

t.test('a file of a hundred secrets is read, and one of more is an error', async (t) => {
  const lines = (count: number) => Array.from({ length: count }, (_, i) => `${OLD} ${i}`).join('\n')
  t.match(reasonsOf(lines(101)), [/holds 101 secrets; expected at most 100/])
  t.equal(read(lines(100)).secrets.length, 100)
})

for (const content of ['', '\n', ' \r\n\n']) {
  t.test(`${JSON.stringify(content)} holds no secret`, async (t) => {
    t.match(reasonsOf(content), [/^\/run\/secrets\/jwt: the secret has 0 bytes; expected at least 32$/])
  })
}
