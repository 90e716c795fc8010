import t from 'tap'
import { KEEP_ALIVE_MS, KeepAliveReader } from '../../../gateway/upstreams/transport/keep-alive.ts'

t.test('what a target says of idle connections, less what a request needs to arrive', async (t) => {
  const reader = new KeepAliveReader()
  for (const [value, ms] of [
    ['timeout=5', 4000],
    ['timeout=75, max=1000', 74_000],
    ['max=100, Timeout = "20"', 19_000],
    ['timeout=1', 500],
    ['timeout=0', 0],
    ['max=5', KEEP_ALIVE_MS],
    ['', KEEP_ALIVE_MS],
    ['timeout=999999999', 600_000],
    ['xtimeout=5', KEEP_ALIVE_MS],
  ] as const) {
    t.equal(reader.read(['Connection', 'keep-alive', 'Keep-Alive', value]), ms, value)
    t.equal(reader.read(['keep-alive', value]), ms, value)
  }
  t.equal(reader.read(['X-Kind', 'timeout=5', 'keepalive', '1']), KEEP_ALIVE_MS)
})
