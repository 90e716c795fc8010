import t from 'tap'
import { AUTHS, expectMalformed, FORMS, shot, startRange, TRANSPORT } from './support.ts'

const range = await startRange(t, { env: { MAX_HEADER_BYTES: '1048576' } })

/** `shot` adds Host, and four more fields for a handshake. HTTP/2 has four pseudo-header fields in place of Host. */
const own = { request: TRANSPORT === 'http2' ? 4 : 1, upgrade: 5 }

for (const form of FORMS) {
  t.test(`2,001 headers, ${form}: 431, and none is cut off silently`, async (t) => {
    const fields = (total: number) =>
      Array.from({ length: total - own[form] - 1 }, (_, n) => `X-${n}: 1`).concat('X-User-Id: admin')
    for (const auth of AUTHS) {
      const hit = await range.fire(shot(form, `/${auth}`, fields(2001)))
      expectMalformed(t, hit, 'headers_too_large', auth)
    }
    const hit = await range.fire(shot(form, '/public', fields(2000)))
    t.equal(hit.arrived.length, 1, '2,000 pass')
    const names = hit.arrived[0]!.fields.map(([name]) => name)
    t.equal(names.filter((name) => /^x-\d+$/.test(name)).length, 2000 - own[form] - 1, 'all of them')
    t.notOk(names.includes('x-user-id'), 'but the spoofed one behind them')
  })
}
