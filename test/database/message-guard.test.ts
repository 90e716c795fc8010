import type { Socket } from 'node:net'
import { Duplex } from 'node:stream'
import t from 'tap'
import { MessageGuard } from '../../gateway/database/message-guard.ts'

/** A message of a server's: its type, its length, its body. */
function message(type: string, body: Buffer | string): Buffer {
  const bytes = Buffer.from(body as string)
  const head = Buffer.alloc(5)
  head.write(type, 0)
  head.writeUInt32BE(bytes.length + 4, 1)
  return Buffer.concat([head, bytes])
}

function authentication(kind: number, rest: Buffer | string = ''): Buffer {
  const head = Buffer.alloc(4)
  head.writeUInt32BE(kind)
  return message('R', Buffer.concat([head, Buffer.from(rest as string)]))
}

/** What postgres.js would get of these bytes, and the error that ends them. */
async function pass(chunks: readonly Buffer[]): Promise<{ got: Buffer; error: Error | null }> {
  const socket = new Duplex({ read() {}, write: (_chunk, _encoding, done) => done() })
  const guard = new MessageGuard(socket as Socket)
  const got: Buffer[] = []
  let error: Error | null = null
  guard.on('data', (chunk: Buffer) => got.push(chunk))
  guard.on('error', (each: Error) => {
    error ??= each
  })
  for (const chunk of chunks) socket.push(chunk)
  await new Promise((resolve) => setImmediate(resolve))
  socket.destroy()
  return { got: Buffer.concat(got), error }
}

const STARTUP = Buffer.concat([
  authentication(10, 'SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0'),
  authentication(11, 'r=abc,s=c2FsdA==,i=4096'),
  authentication(12, 'v=c2lnbmF0dXJl'),
  authentication(0),
  message('S', 'TimeZone\0UTC\0'),
  message('K', Buffer.alloc(8)),
  message('Z', 'I'),
  message('D', 'anything, once the server is ready'),
])

t.test('the messages that begin a session arrive unchanged, wherever they are split', async (t) => {
  for (let at = 0; at <= STARTUP.length; at++) {
    const { got, error } = await pass([STARTUP.subarray(0, at), STARTUP.subarray(at)])
    if (error !== null || !got.equals(STARTUP)) t.fail(`split at ${at}`)
  }
  t.same((await pass([...STARTUP].map((byte) => Buffer.from([byte])))).got, STARTUP)
})

for (const [what, bytes] of [
  ['an authentication request without a kind', message('R', '')],
  ['an authentication request cut in its kind', message('R', Buffer.alloc(3))],
  ['an MD5 request without a salt', authentication(5)],
  ['a request for Kerberos', authentication(2)],
  ['a request for GSSAPI', authentication(7)],
  ['an unknown kind of authentication', authentication(0xffffffff)],
  ['SASL without SCRAM-SHA-256', authentication(10, 'SCRAM-SHA-256-PLUS\0\0')],
  ['a SCRAM challenge without a salt', authentication(11, 'r=abc,i=4096')],
  ['a SCRAM challenge without a nonce', authentication(11, 's=c2FsdA==,i=4096')],
  ['a SCRAM challenge without iterations', authentication(11, 'r=abc,s=c2FsdA==')],
  ['a SCRAM challenge of a billion iterations', authentication(11, 'r=abc,s=c2FsdA==,i=1000000000')],
  ['an empty SCRAM challenge', authentication(11)],
  ['a SCRAM signature that is an error', authentication(12, 'e=other-error')],
  ['a message of no length', Buffer.from('R\0\0\0\0\0\0\0\0')],
  ['a message of four gigabytes', Buffer.from([0x52, 0xff, 0xff, 0xff, 0xff, 0])],
  ['an HTTP response', Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n')],
] as const) {
  t.test(
    `a server that begins with ${what} is refused with PROTOCOL before postgres.js sees it`,
    async (t) => {
      const { got, error } = await pass([bytes])
      t.match(error, { name: 'DatabaseError', code: 'PROTOCOL' })
      t.equal(got.length, 0)
    },
  )
}

const READY = message('Z', 'I')
const COLUMN = Buffer.concat([Buffer.from('id\0'), Buffer.alloc(18)])
const ONE_COLUMN = message('T', Buffer.concat([Buffer.from([0, 1]), COLUMN]))

t.test('the messages that answer a statement arrive unchanged, wherever they are split', async (t) => {
  const answer = Buffer.concat([
    READY,
    message('1', ''),
    message('t', Buffer.alloc(2)),
    ONE_COLUMN,
    message('2', ''),
    message('D', Buffer.alloc(300)),
    message('C', 'SELECT 1\0'),
    message('A', Buffer.concat([Buffer.alloc(4), Buffer.from('channel\0payload\0')])),
    READY,
  ])
  for (let at = 0; at <= answer.length; at++) {
    const { got, error } = await pass([answer.subarray(0, at), answer.subarray(at)])
    if (error !== null || !got.equals(answer)) t.fail(`split at ${at}`)
  }
})

for (const [what, bytes] of [
  ['a request for authentication', authentication(0)],
  ['the start of copying', message('G', Buffer.alloc(3))],
  ['copied data', message('d', 'x')],
  ['the end of copying', message('c', '')],
  ['the end of a part of a cursor', message('s', '')],
  ['the answer of a function', message('V', Buffer.alloc(4))],
  ['an unknown type', Buffer.alloc(20)],
  ['columns without the end of a name', message('T', Buffer.from([0, 1, 0x61]))],
  ['more columns than are described', message('T', Buffer.concat([Buffer.from([0, 2]), COLUMN]))],
  ['a notice without an end', message('A', 'abcdchannel\0payload')],
  ['a row of four gigabytes', Buffer.from([0x44, 0xff, 0xff, 0xff, 0xff])],
] as const) {
  t.test(
    `a server that sends ${what} in the place of an answer is refused with PROTOCOL before postgres.js sees it`,
    async (t) => {
      const { got, error } = await pass([READY, bytes])
      t.match(error, { name: 'DatabaseError', code: 'PROTOCOL' })
      t.same(got, READY)
    },
  )
}

t.test('an error message of the server arrives unchanged', async (t) => {
  const refusal = message('E', 'SFATAL\0C28P01\0Mno\0\0')
  t.same(await pass([refusal]), { got: refusal, error: null })
})
