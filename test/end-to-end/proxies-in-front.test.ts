import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { dirname, join } from 'node:path'
import t from 'tap'
import { WebSocketServer } from 'ws'
import { createAuthority } from '../support/certificates.ts'
import { startChromium } from '../support/chromium.ts'
import { startHaproxyFront } from '../support/haproxy.ts'
import { startNginxFront } from '../support/nginx-front.ts'
import { programPath, run } from '../support/programs.ts'
import { request, startStage } from '../support/stage.ts'

const server = createServer((_, response) => response.end('<!doctype html><title>page</title>'))
const sockets = new WebSocketServer({ server })
sockets.on('connection', (socket) => socket.on('message', (data) => socket.send(String(data))))
server.listen(0, '127.0.0.1')
await once(server, 'listening')

const stage = await startStage({
  upstreams: { sockets: { targets: [`http://127.0.0.1:${(server.address() as AddressInfo).port}`] } },
  routes: [
    { path: '/page', upstream: 'sockets', auth: 'none' },
    { path: '/ws', upstream: 'sockets' },
  ],
  env: { TRUSTED_PROXIES: '127.0.0.1' },
})
t.teardown(async () => {
  await stage.close()
  sockets.close()
  server.closeAllConnections()
  server.close()
})

const haproxy = programPath('haproxy')
const nginx = programPath('nginx')
const curl = programPath('curl')
const needs = (...programs: readonly (string | null)[]) =>
  programs.includes(null) ? { skip: 'a program is not installed' } : {}
const CLIENT = '127.0.0.77'

/** The headers of the last request that has reached the backend. */
const received = (name: string) => stage.upstream.requests.at(-1)!.all(name)

const clientOf = async (path: string) =>
  (await stage.gateway.line((line) => line.msg === 'request' && line.path === path)).clientAddress

t.test(
  'Chromium opens a WebSocket behind an HAProxy that ends TLS and says X-Forwarded-Proto: wss, as Traefik does',
  needs(haproxy, programPath('chromium')),
  async (t) => {
    const { certFile, cert, key } = createAuthority(t, 'the edge').issue('edge', ['DNS:localhost'])
    const bundle = join(dirname(certFile), 'bundle.pem')
    await writeFile(bundle, Buffer.concat([cert, key]))
    const front = await startHaproxyFront({
      mode: 'http',
      bind: `ssl crt ${bundle} alpn http/1.1`,
      lines: [
        'http-request set-header X-Forwarded-Proto https',
        'http-request set-header X-Forwarded-Proto wss if { hdr(Upgrade) -i websocket }',
      ],
      server: `127.0.0.1:${stage.gateway.port}`,
    })
    t.teardown(() => front.close())
    const browser = await startChromium(['--ignore-certificate-errors'])
    t.teardown(() => browser.close())
    const page = await browser.newPage()
    const origin = `https://localhost:${front.port}`
    const [name, value] = stage.cookie.split('=') as [string, string]
    await page.context().addCookies([{ name, value, url: origin }])
    await page.goto(`${origin}/page`)
    const answer = await page.evaluate(`new Promise((resolve) => {
      const socket = new WebSocket('wss://localhost:${front.port}/ws')
      socket.onopen = () => socket.send('hello')
      socket.onmessage = ({ data }) => resolve(data)
      socket.onclose = ({ code }) => resolve('closed: ' + code)
    })`)
    t.equal(answer, 'hello')
  },
)

t.test(
  'X-Forwarded-For with a port, by HAProxy, names the client in the access log',
  needs(haproxy, curl),
  async (t) => {
    const front = await startHaproxyFront({
      mode: 'http',
      lines: ['http-request set-header X-Forwarded-For %[src]:%[src_port]'],
      server: `127.0.0.1:${stage.gateway.port}`,
    })
    t.teardown(() => front.close())
    const { output } = await run(curl!, [
      '-s',
      '--interface',
      CLIENT,
      `http://127.0.0.1:${front.port}/with-port`,
    ])
    t.equal(output, 'ok')
    t.equal(await clientOf('/with-port'), CLIENT)
    t.match(received('x-forwarded-for'), [/^127\.0\.0\.77:\d+, 127\.0\.0\.1$/])
  },
)

t.test(
  'attack: a client behind an nginx that appends to Forwarded begins it itself, and gains nothing',
  needs(nginx, curl),
  async (t) => {
    const front = await startNginxFront({
      program: nginx!,
      target: stage.gateway.port,
      lines: [
        'proxy_set_header Forwarded \'$http_forwarded, for="$remote_addr:$remote_port";proto=https;host="$http_host"\';',
        'proxy_set_header Host internal;',
      ],
    })
    t.teardown(() => front.close())
    const url = `http://127.0.0.1:${front.port}/appended`
    const claim = 'Forwarded: for=198.51.100.1;proto=http;host="evil.example, for=1.1.1.1'
    const { output } = await run(curl!, ['-s', '--interface', CLIENT, '-H', claim, url])
    t.equal(output, 'ok')
    t.equal(await clientOf('/appended'), CLIENT)
    // As in every such list, what the client has begun is on the left of what the proxies have seen.
    t.same(received('x-forwarded-for'), [`1.1.1.1, ${CLIENT}, 127.0.0.1`])
    t.same(received('x-forwarded-proto'), ['https'])
    t.same(received('x-forwarded-host'), [`127.0.0.1:${front.port}`])
  },
)

const HANDSHAKE = [
  'Connection: Upgrade',
  'Upgrade: websocket',
  'Sec-WebSocket-Version: 13',
  'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
  `Cookie: ${stage.cookie}`,
  'Origin: https://app.example.com',
]

for (const [field, status] of [
  ['X-Forwarded-Proto: wss', 101],
  ['X-Forwarded-Proto: https', 101],
  ['Forwarded: for=203.0.113.9;proto=wss', 101],
  ['X-Forwarded-Proto: ws', 403],
  ['Forwarded: proto=http', 403],
] as const) {
  t.test(`a WebSocket from an https: origin with ${field} of a trusted proxy gets ${status}`, async (t) => {
    const { responses } = await stage.ask(request('GET /ws', [...HANDSHAKE, field]))
    t.equal(responses[0]!.status, status)
  })
}

for (const [field, origin, status] of [
  ['X-Forwarded-Proto: wss', 'https://app.example.com', 403],
  ['Forwarded: for=203.0.113.9;proto=https', 'https://app.example.com', 403],
  ['X-Forwarded-Proto: wss', 'http://app.example.com', 101],
] as const) {
  t.test(
    `attack: ${field} of a peer that is not trusted does not count: ${origin} gets ${status}`,
    async (t) => {
      const stranger = await startStage({
        upstreams: { sockets: { targets: [`http://127.0.0.1:${(server.address() as AddressInfo).port}`] } },
        routes: [{ path: '/ws', upstream: 'sockets' }],
        env: { TRUSTED_PROXIES: '10.0.0.0/8' },
      })
      t.teardown(() => stranger.close())
      const fields = [...HANDSHAKE.slice(0, 4), `Cookie: ${stranger.cookie}`, `Origin: ${origin}`, field]
      const { responses } = await stranger.ask(request('GET /ws', fields))
      t.equal(responses[0]!.status, status)
    },
  )
}
