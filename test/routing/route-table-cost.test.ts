import t from 'tap'
import { createRouteTable, type RouteMatcher, type RouteRequest } from '../../gateway/routing/route-table.ts'

function table(count: number) {
  const routes: RouteMatcher[] = Array.from({ length: count }, (_, n) => ({
    host: n % 3 === 0 ? `h${n}.example.com` : null,
    path: `/service-${n}/v1`,
    exact: n % 5 === 0,
    methods: n % 7 === 0 ? ['GET'] : null,
  }))
  const requests: RouteRequest[] = Array.from({ length: 1000 }, (_, n) => {
    const { host, path, exact } = routes[n % count]!
    return { host: host ?? 'any.example.com', path: exact ? path : `${path}/items/${n}`, method: 'GET' }
  })
  return { routes: createRouteTable(routes), requests }
}

/** The average time of one match, in nanoseconds. */
function cost({ routes, requests }: ReturnType<typeof table>): number {
  const startedAt = process.hrtime.bigint()
  for (let n = 0; n < 20; n++) {
    for (const request of requests) {
      if (routes.match(request).kind !== 'matched') throw new Error(`no route for ${request.path}`)
    }
  }
  return Number(process.hrtime.bigint() - startedAt) / (20 * requests.length)
}

t.test('a match among a thousand routes takes at most 600 ns longer than one among ten', async (t) => {
  const ten = table(10)
  const thousand = table(1000)
  // Measured in turns, so that other load on the machine affects both. The fastest round is the undisturbed cost.
  const times = { ten: [] as number[], thousand: [] as number[] }
  for (let round = 0; round < 60; round++) {
    times.ten.push(cost(ten))
    times.thousand.push(cost(thousand))
  }
  const least = { ten: Math.min(...times.ten), thousand: Math.min(...times.thousand) }
  const difference = least.thousand - least.ten
  t.comment(`ten: ${least.ten.toFixed(0)} ns, a thousand: ${least.thousand.toFixed(0)} ns`)
  // A whole request costs tens of microseconds, so this bound is a few percent of it.
  t.ok(difference < 600, `${difference.toFixed(0)} ns more`)
})
