import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { copyFileSync, writeFileSync } from 'node:fs'
import { connect, type PeerCertificate } from 'node:tls'
import t from 'tap'
import { createAuthority } from '../../support/certificates.ts'
import { askHttp2, http2Client } from '../../support/http2-client.ts'
import { startStage } from '../../support/stage.ts'

const EXPIRY = 'gateway_tls_certificate_expiry_timestamp_seconds'

async function handshake(port: number): Promise<{ subject: string; protocol: string | false | null }> {
  const socket = connect({ port, host: '127.0.0.1', rejectUnauthorized: false, ALPNProtocols: ['h2'] })
  await once(socket, 'secureConnect')
  const { subject } = socket.getPeerCertificate() as PeerCertificate
  socket.destroy()
  return { subject: String(subject.CN), protocol: socket.alpnProtocol }
}

t.test('the certificate of TLS_CERT_FILE', async (t) => {
  const authority = createAuthority(t, 'the edge authority')
  const first = authority.issue('first.example.com', ['DNS:first.example.com'])
  const second = authority.issue('second.example.com', ['DNS:second.example.com'])
  const stage = await startStage({ env: { TLS_CERT_FILE: first.certFile, TLS_KEY_FILE: first.keyFile } })
  t.teardown(() => stage.close())

  await t.test('its expiry is a metric and, if it is soon, a line in the log', async (t) => {
    const ends = Date.parse(new X509Certificate(first.cert).validTo)
    t.equal(await stage.gateway.metric(EXPIRY), ends / 1000)
    t.match(await stage.gateway.line(({ msg }) => msg.startsWith('the certificate expires soon')), {
      expires: new Date(ends).toISOString(),
    })
  })

  await t.test('a replaced certificate serves new connections, and open connections stay', async (t) => {
    const open = http2Client(t, stage.port)
    t.equal((await askHttp2(open, { ':path': '/' })).status, 200)
    t.same(await handshake(stage.port), { subject: 'first.example.com', protocol: 'h2' })
    copyFileSync(second.keyFile, first.keyFile)
    copyFileSync(second.certFile, first.certFile)
    await stage.gateway.line(({ msg }) => msg === 'the certificate was replaced')
    t.same(await handshake(stage.port), { subject: 'second.example.com', protocol: 'h2' })
    t.equal((await askHttp2(open, { ':path': '/' })).status, 200)
  })

  await t.test('an unusable new certificate leaves the old one in force', async (t) => {
    writeFileSync(first.certFile, 'not a certificate')
    await stage.gateway.line(({ msg }) => msg.includes('the old one stays in force'))
    t.equal((await handshake(stage.port)).subject, 'second.example.com')
  })
})

t.test('without TLS there is no metric of the expiry', async (t) => {
  const stage = await startStage()
  t.teardown(() => stage.close())
  const text = await (await fetch(`http://127.0.0.1:${stage.gateway.adminPort}/metrics`)).text()
  t.notMatch(text, new RegExp(`^${EXPIRY} `, 'm'))
})
