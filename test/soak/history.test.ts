import t from 'tap'
import { brokenPromises } from '../support/promise-history.ts'
import { judgeStreams } from './history.ts'

t.test(
  'a planted violation is found, even if the request arrived long after the client had given up',
  async (t) => {
    const revocations = [{ tokenId: 'a', returned: 10 }]
    const requests = [
      { tokenId: 'a', began: 9, mark: 'before' },
      { tokenId: 'a', began: 11, mark: 'refused' },
      { tokenId: 'b', began: 11, mark: 'another' },
      { tokenId: 'a', began: 12, mark: 'planted' },
    ]
    t.same(brokenPromises(requests, new Set(['before', 'another']), revocations), [])
    t.same(brokenPromises(requests, new Set(['before', 'another', 'planted']), revocations), [
      { tokenId: 'a', began: 12, forwarded: true },
    ])
  },
)

t.test(
  'a stream that outlives its token counts as late, and one that ends without a cause as unexpected',
  async (t) => {
    const outages = [{ kind: 'kill', from: 100, to: 200 }]
    const inTime = { revokedAt: 10, endedAt: 15 }
    const late = { revokedAt: 10, endedAt: 99 }
    const held = { revokedAt: 90, endedAt: 190 }
    const killed = { revokedAt: null, endedAt: 150 }
    const unexpected = { revokedAt: null, endedAt: 50 }
    t.same(judgeStreams([inTime, late, held, killed, unexpected], outages, 50), {
      closedAfterMs: [5, 89],
      late: [late],
      unexpected: [unexpected],
    })
  },
)
