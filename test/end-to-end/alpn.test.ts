import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { connect } from 'node:tls'
import t, { type Test } from 'tap'
import { WebSocketServer } from 'ws'
import { createAuthority } from '../support/certificates.ts'
import { chromiumIsInstalled, startChromium } from '../support/chromium.ts'
import { plainGateway } from '../support/plain-gateway.ts'

const CURL = '/usr/bin/curl'

const { certFile, keyFile } = createAuthority(t, 'the edge authority').issue('app.example.com', [
  'DNS:app.example.com',
])

/** A gateway before a backend with a page, and with a WebSocket that answers each message. */
async function startStage(t: Test): Promise<number> {
  const backend = createServer((_request, response) => {
    response.setHeader('Content-Type', 'text/html').end('<!doctype html><link rel=icon href="data:,">')
  })
  new WebSocketServer({ server: backend }).on('connection', (socket) => {
    socket.on('message', (text) => socket.send(`${text}!`))
  })
  await new Promise<void>((resolve) => backend.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    backend.closeAllConnections()
    backend.close()
  })
  const gateway = await plainGateway(t, {
    targets: [`http://127.0.0.1:${(backend.address() as AddressInfo).port}`],
    env: { TLS_CERT_FILE: certFile, TLS_KEY_FILE: keyFile },
  })
  return gateway.port
}

t.test('a client that offers http/1.0 alone is served', async (t) => {
  const port = await startStage(t)
  const offer = { port, host: '127.0.0.1', rejectUnauthorized: false, ALPNProtocols: ['http/1.0'] }
  const socket = connect(offer)
  t.teardown(() => socket.destroy())
  await once(socket, 'secureConnect')
  t.equal(socket.alpnProtocol, 'http/1.0')
  socket.write('GET / HTTP/1.0\r\nHost: app.example.com\r\n\r\n')
  let answer = ''
  socket.on('data', (bytes) => {
    answer += bytes
  })
  await once(socket, 'end')
  t.match(answer, /^HTTP\/1\.1 200 OK\r\n/)
})

t.test('a client that offers nothing but another protocol is refused', async (t) => {
  const port = await startStage(t)
  const socket = connect({ port, host: '127.0.0.1', rejectUnauthorized: false, ALPNProtocols: ['spdy/3'] })
  const [error] = await once(socket, 'error')
  t.match(error, { code: 'ERR_SSL_TLSV1_ALERT_NO_APPLICATION_PROTOCOL' })
})

t.test(
  'curl --http1.0 is served',
  { skip: existsSync(CURL) ? false : 'curl is not installed here' },
  async (t) => {
    const port = await startStage(t)
    const format = '%{http_code} %{http_version}'
    const args = ['-sk', '--http1.0', '-o', '/dev/null', '-w', format, `https://127.0.0.1:${port}/`]
    const curl = spawn(CURL, args)
    let out = ''
    curl.stdout.on('data', (text) => {
      out += text
    })
    await once(curl, 'close')
    t.match(out, /^200 /)
  },
)

t.test(
  'Chromium opens a WebSocket beside a page that came over HTTP/2',
  { skip: chromiumIsInstalled() ? false : 'Chromium is not installed here' },
  async (t) => {
    const port = await startStage(t)
    const browser = await startChromium(['--ignore-certificate-errors'])
    t.teardown(() => browser.close())
    const tab = await browser.newPage({ ignoreHTTPSErrors: true })
    await tab.goto(`https://127.0.0.1:${port}/`)
    const protocol = await tab.evaluate(
      `performance.getEntriesByType('navigation').map(({ nextHopProtocol }) => nextHopProtocol)[0]`,
    )
    t.equal(protocol, 'h2')
    const answer = await tab.evaluate(`new Promise((resolve) => {
      const socket = new WebSocket('wss://' + location.host + '/')
      socket.onopen = () => socket.send('hello')
      socket.onmessage = ({ data }) => resolve(data)
      socket.onerror = () => resolve('an error')
    })`)
    t.equal(answer, 'hello!')
  },
)
