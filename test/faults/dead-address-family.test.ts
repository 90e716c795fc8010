import t, { type Test } from 'tap'
import { startBlackHole } from '../support/black-hole.ts'
import { KINDS, type NamedTarget, SUCCESS, startNamedTargets } from '../support/named-targets.ts'
import { freePort } from '../support/raw-backend.ts'
import { whyNoDnsmasq } from '../support/resolver-stage.ts'

/* Targets with addresses of both families, one of which leads nowhere (RFC 8305, "Happy Eyeballs"). */

const reason = whyNoDnsmasq()
const unlessThere = reason === null ? '' : ` (NOT TESTED HERE: ${reason})`
/** What the dead family may cost the first connection to a target. */
const COST_MS = 300

/** Each kind is measured several times, each time with another target: the least of them is without a busy machine. */
const ROUNDS = [0, 1, 2]
const COUNT = KINDS.length * ROUNDS.length

async function freePorts(): Promise<readonly number[]> {
  const ports: number[] = []
  while (ports.length < COUNT) ports.push(await freePort())
  return ports
}

const CASES = [
  {
    what: 'does not answer',
    addresses: ['::1', '127.0.0.1'],
    ports: async (t: Test) =>
      (await startBlackHole(t, { host: '::1', ports: Array.from({ length: COUNT }, () => 0) })).ports,
  },
  { what: 'refuses connections', addresses: ['::1', '127.0.0.1'], ports: freePorts },
  { what: 'has no route', addresses: ['100::1', '100::2', '127.0.0.1'], ports: freePorts },
]

for (const { what, addresses, ports } of CASES) {
  t.test(
    `an IPv6 address that ${what} costs the first connection at most 300 ms${unlessThere}`,
    async (t) => {
      if (reason !== null) {
        t.pass(reason)
        return
      }
      const bound = await ports(t)
      const dead = bound.map(
        (port, n): NamedTarget => ({ kind: KINDS[n % KINDS.length]!, name: `dead${n}.test`, port }),
      )
      const alive = KINDS.map((kind): NamedTarget => ({ kind, name: 'alive.test', port: 0 }))
      const { gateway, visit } = await startNamedTargets(t, {
        records: {
          ...Object.fromEntries(dead.map(({ name }) => [name, { addresses }])),
          'alive.test': { addresses: ['127.0.0.1'] },
        },
        targets: [...dead, ...alive],
      })
      const least = async (targets: readonly NamedTarget[]) => {
        const times: number[] = []
        for (const target of targets) {
          const { status, ms } = await visit(target)
          t.equal(status, SUCCESS[target.kind], target.kind)
          times.push(ms)
        }
        return Math.min(...times)
      }
      for (const kind of KINDS) {
        const usual = await least(alive.filter((target) => target.kind === kind))
        const cost = (await least(dead.filter((target) => target.kind === kind))) - usual
        t.ok(cost < COST_MS, `${kind}: ${Math.round(cost)} ms`)
      }
      t.notOk(
        gateway.lines.some(({ msg }) => msg === 'the target is down'),
        'checks have passed',
      )
    },
  )
}
