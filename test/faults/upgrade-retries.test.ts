import type { AddressInfo } from 'node:net'
import { connect, createServer } from 'node:net'
import t from 'tap'
import { startEchoUpstream } from '../../gateway/dev/echo-upstream.ts'
import { plainGateway } from '../support/plain-gateway.ts'
import { startRawBackend } from '../support/raw-backend.ts'
import { rawRequest } from '../support/raw-http.ts'

const HANDSHAKE =
  'GET /ws HTTP/1.1\r\nHost: app.example.com\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n' +
  'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n'

/** A masked text frame. The mask is zero, so that the text is readable in it. */
function frame(text: string): Buffer {
  return Buffer.concat([Buffer.from([0x81, 0x80 | text.length, 0, 0, 0, 0]), Buffer.from(text)])
}

/** A port that refuses connections. */
async function deadPort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}

/** Sends early bytes with the handshake, and more after its answer. @returns the texts that came back as an echo */
function talk(port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1')
    let got = ''
    let asked = false
    socket.setTimeout(3000, () => {
      socket.destroy()
      resolve(got)
    })
    socket.on('error', reject)
    socket.on('data', (data) => {
      got += data.toString('latin1')
      if (!asked && got.includes('early')) {
        asked = true
        socket.write(frame('later'))
      }
      if (got.includes('later')) {
        socket.destroy()
        resolve(
          got
            .slice(got.indexOf('\r\n\r\n') + 4)
            .replace(/[^a-z]+/g, ' ')
            .trim(),
        )
      }
    })
    socket.write(Buffer.concat([Buffer.from(HANDSHAKE), frame('early')]))
  })
}

t.test(
  'a handshake that is retried at another target passes its early bytes on once, and works',
  async (t) => {
    const echo = await startEchoUpstream({ host: '127.0.0.1', port: 0 })
    t.teardown(() => echo.close())
    const targets = [`http://127.0.0.1:${await deadPort()}`, echo.url]
    const gateway = await plainGateway(t, { targets, upstream: { retries: 1 } })
    for (let i = 0; i < 4; i++) t.equal(await talk(gateway.port), 'early later')
    t.ok(
      (await gateway.metric('gateway_upstream_retries_total{upstream="api"}')) >= 2,
      'some met the dead target first',
    )
  },
)

t.test('a handshake is not retried after a byte of its answer', async (t) => {
  for (const bytes of ['HTTP/1.1 1', 'HTTP/1.1 101 Switching Protocols\r\nUpgra']) {
    const half = await startRawBackend(({ socket }) => void socket.end(bytes))
    const other = await startRawBackend(({ socket }) => void socket.end(bytes))
    t.teardown(() => Promise.all([half.close(), other.close()]))
    const gateway = await plainGateway(t, { targets: [half.url, other.url], upstream: { retries: 3 } })
    const { responses } = await rawRequest(gateway.port, HANDSHAKE)
    t.equal(responses[0]?.status, 502)
    t.equal(half.requests.length + other.requests.length, 1)
  }
})
