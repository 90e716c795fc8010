import { spawn } from 'node:child_process'
import { lookup } from 'node:dns'
import { once } from 'node:events'
import { createServer, type RequestListener } from 'node:http'
import { createServer as createHttpsServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { createFetchJson } from '../../../gateway/auth/jwt/fetch-json.ts'
import { createAuthority } from '../../support/certificates.ts'
import { surroundings, unwatched } from '../../support/surroundings.ts'

const fetchJson = createFetchJson({ lookup })

const MODULE = fileURLToPath(new URL('../../../gateway/auth/jwt/fetch-json.ts', import.meta.url))
const PROGRAM = `
  const { createFetchJson } = await import(process.argv[1])
  const dns = await import('node:dns')
  // Some systems do not know "localhost." as the gateway's own look-up does.
  const lookup = (name, ...rest) => dns.lookup(name.replace(/\\.$/, ''), ...rest)
  const fetchJson = createFetchJson({ lookup })
  const found = await fetchJson(process.argv[2], 5000).catch((error) => String(error.code ?? error))
  process.stdout.write(JSON.stringify(found))`

async function serve(t: Test, listener: RequestListener): Promise<string> {
  const server = createServer(listener).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/keys`
}

/** Fetches in a process of its own, whose environment decides what Node checks. */
async function fetchWith(env: Record<string, string>, url: string): Promise<unknown> {
  const child = spawn(
    ...unwatched(process.execPath, ['--input-type=module', '-e', PROGRAM, MODULE, url], env),
    { env: { ...surroundings(), ...env }, stdio: ['ignore', 'pipe', 'ignore'] },
  )
  let stdout = ''
  child.stdout!.on('data', (data) => {
    stdout += data
  })
  await once(child, 'close')
  return JSON.parse(stdout)
}

t.test(
  'attack: NODE_TLS_REJECT_UNAUTHORIZED=0 lets no stranger answer in the place of the issuer',
  async (t) => {
    const [authority, stranger] = [createAuthority(t, 'issuer'), createAuthority(t, 'stranger')]
    const { cert, key } = authority.issue('issuer', ['IP:127.0.0.1'])
    const other = authority.issue('other', ['DNS:other.internal'])
    const start = async (pair: { readonly cert: Buffer; readonly key: Buffer }) => {
      const server = createHttpsServer(pair, (_req, res) => res.end('{"keys":[]}')).listen(0, '127.0.0.1')
      await once(server, 'listening')
      t.teardown(() => server.close())
      return `https://127.0.0.1:${(server.address() as AddressInfo).port}/keys`
    }
    const url = await start({ cert, key })
    const off = { NODE_TLS_REJECT_UNAUTHORIZED: '0' }
    const trusting = { ...off, NODE_EXTRA_CA_CERTS: authority.certFile }
    t.same(await fetchWith(trusting, url), { keys: [] }, 'an authority that is trusted')
    t.equal(await fetchWith(off, url), 'UNABLE_TO_VERIFY_LEAF_SIGNATURE')
    t.equal(await fetchWith(off, await start(stranger)), 'DEPTH_ZERO_SELF_SIGNED_CERT')
    t.equal(await fetchWith(trusting, await start(other)), 'ERR_TLS_CERT_ALTNAME_INVALID', 'another name')
  },
)

t.test('the name in the URL goes without its last dot into TLS (RFC 6066, section 3)', async (t) => {
  const authority = createAuthority(t, 'issuer')
  const { cert, key } = authority.issue('localhost', ['DNS:localhost'])
  const asked: string[] = []
  const server = createHttpsServer({ cert, key }, (_req, res) => res.end('{"keys":[]}'))
  server.listen(0, '127.0.0.1')
  server.on('secureConnection', ({ servername }) => asked.push(String(servername)))
  await once(server, 'listening')
  t.teardown(() => server.close())
  const { port } = server.address() as AddressInfo
  const trusting = { NODE_EXTRA_CA_CERTS: authority.certFile }
  t.same(await fetchWith(trusting, `https://localhost.:${port}/keys`), { keys: [] })
  t.same(asked, ['localhost'])
})

t.test('a JSON document is fetched, with or without a byte order mark', async (t) => {
  t.same(await fetchJson(await serve(t, (_req, res) => res.end('{"a":1}')), 5000), { a: 1 })
  t.same(await fetchJson(await serve(t, (_req, res) => res.end('\uFEFF{"a":1}')), 5000), { a: 1 })
})

t.test('attack: a redirect is not followed', async (t) => {
  let asked = 0
  const elsewhere = await serve(t, (_req, res) => {
    asked++
    res.end('{}')
  })
  const url = await serve(t, (_req, res) => res.writeHead(302, { location: elsewhere }).end())
  await t.rejects(fetchJson(url, 5000), { message: 'answered with 302' })
  t.equal(asked, 0)
})

for (const [what, listener, message] of [
  ['of status 500', (_req, res) => res.writeHead(500).end('{}'), /answered with 500/],
  ['that is no JSON', (_req, res) => res.end('<html>'), /JSON/],
  ['that never comes', () => {}, /abort/],
  ['whose body never ends', (_req, res) => res.write('{'), /abort/],
  ['of two megabytes', (_req, res) => res.end(`"${'x'.repeat(2_097_152)}"`), /more than 1048576 bytes/],
  ['that is cut off', (_req, res) => void res.write('{', () => res.destroy()), /aborted|hang up|reset/i],
  [
    'that is broken behind its head',
    (req) => req.socket.end('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nno size of a chunk\r\n'),
    /aborted|Parse Error/,
  ],
  [
    'that is another protocol',
    (req) => req.socket.write('HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n'),
    /./,
  ],
] as readonly (readonly [string, RequestListener, RegExp])[]) {
  t.test(`an answer ${what} is an error within the time limit`, async (t) => {
    const url = await serve(t, listener)
    await t.rejects(fetchJson(url, 500), { message })
  })
}
