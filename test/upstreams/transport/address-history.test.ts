import t from 'tap'
import type { Address } from '../../../gateway/names/address.ts'
import { createAddressHistory } from '../../../gateway/upstreams/transport/address-history.ts'

const addressOf = (address: string): Address => ({ address, family: address.includes(':') ? 6 : 4 })
const SIX = ['fd00::1', 'fd00::2', 'fd00::3'].map(addressOf)
const FOUR = ['10.0.0.1', '10.0.0.2'].map(addressOf)
const [six, four] = [SIX[0]!, FOUR[0]!]

function setUp() {
  const state = { now: 0 }
  const history = createAddressHistory(() => state.now)
  return {
    history,
    sorted: (addresses: readonly Address[], port = 80) =>
      history
        .sort(addresses, port)
        .map(({ address }) => address)
        .join(' '),
    skip: (ms: number) => {
      state.now += ms
    },
  }
}

t.test('families take turns, beginning with that of the first address', async (t) => {
  const { sorted } = setUp()
  t.equal(sorted([...SIX, ...FOUR]), 'fd00::1 10.0.0.1 fd00::2 10.0.0.2 fd00::3')
  t.equal(sorted([...FOUR, ...SIX]), '10.0.0.1 fd00::1 10.0.0.2 fd00::2 fd00::3')
  t.equal(sorted(SIX), 'fd00::1 fd00::2 fd00::3')
  t.equal(sorted([]), '')
})

t.test('an address that has failed comes last, at this port', async (t) => {
  const { sorted, history } = setUp()
  history.recordFailure(six, 80)
  t.equal(sorted([...SIX, ...FOUR]), 'fd00::2 10.0.0.1 fd00::3 10.0.0.2 fd00::1')
  t.equal(sorted([six, four], 81), 'fd00::1 10.0.0.1')
})

t.test(
  'after 10 s one connection tries it first again, and the others wait for what comes of it',
  async (t) => {
    const { sorted, history, skip } = setUp()
    history.recordFailure(six, 80)
    skip(9999)
    t.equal(sorted([six, four]), '10.0.0.1 fd00::1')
    skip(1)
    t.equal(sorted([six, four]), 'fd00::1 10.0.0.1')
    t.equal(sorted([six, four]), '10.0.0.1 fd00::1')
    history.recordSuccess(six, 80)
    t.equal(sorted([six, four]), 'fd00::1 10.0.0.1')
  },
)

t.test('each further failure makes the time twice as long, up to ten minutes', async (t) => {
  const { sorted, history, skip } = setUp()
  const lasted: number[] = []
  for (let n = 0; n < 8; n++) {
    history.recordFailure(six, 80)
    let seconds = 0
    for (; sorted([six, four]).startsWith('10'); seconds++) skip(1000)
    lasted.push(seconds)
  }
  t.same(lasted, [10, 20, 40, 80, 160, 320, 600, 600])
})

t.test('connections that were begun together and fail together count as one failure', async (t) => {
  const { sorted, history, skip } = setUp()
  for (let n = 0; n < 64; n++) history.recordFailure(six, 80)
  skip(10_000)
  t.equal(sorted([six, four]), 'fd00::1 10.0.0.1')
})
