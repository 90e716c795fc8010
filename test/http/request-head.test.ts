import { createServer, type IncomingHttpHeaders } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import t from 'tap'
import { namedFields } from '../../gateway/http/request-head.ts'

const NAMES = [
  ...['accept', 'age', 'authorization', 'content-type', 'cookie', 'etag', 'expires', 'from', 'host'],
  ...[
    'if-modified-since',
    'if-none-match',
    'if-unmodified-since',
    'last-modified',
    'location',
    'max-forwards',
  ],
  ...['origin', 'proxy-authorization', 'referer', 'retry-after', 'sec-fetch-site', 'server', 'user-agent'],
  ...['upgrade', 'x-forwarded-proto'],
]

t.test('fields that are there twice are joined as Node joins them', async (t) => {
  const flat = NAMES.flatMap((name) => [name, 'first', name.toUpperCase(), 'second'])
  const parsed = Promise.withResolvers<IncomingHttpHeaders>()
  const server = createServer((request, response) => {
    parsed.resolve(request.headers)
    response.end()
  })
  server.on('upgrade', (request, socket) => {
    parsed.resolve(request.headers)
    socket.destroy()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => server.close())
  const client = connect((server.address() as AddressInfo).port, '127.0.0.1')
  t.teardown(() => client.destroy())
  client.resume()
  const lines = NAMES.map((name) => `${name}: first\r\n${name.toUpperCase()}: second\r\n`)
  client.write(`GET / HTTP/1.1\r\n${lines.join('')}\r\n`)
  const { connection: _, ...headers } = await parsed.promise
  t.same({ ...namedFields(flat) }, headers)
})
