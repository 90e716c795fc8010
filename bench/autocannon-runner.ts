import { readFileSync } from 'node:fs'
import autocannon from 'autocannon'
import { type Load, type LoadResult, PATH } from './load-shape.ts'

const load = JSON.parse(process.argv[2]!) as Load
const tokens = readFileSync(load.tokensFile, 'utf8').trim().split('\n')
let state = load.seed >>> 0

/** Numerical Recipes' linear congruential generator: any fixed sequence will do. */
function draw(): string {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0
  return tokens[(state >>> 8) % tokens.length]!
}

const told = await autocannon({
  url: `http://127.0.0.1:${load.port}`,
  connections: load.connections,
  duration: load.seconds,
  requests: [
    {
      method: 'GET',
      path: PATH,
      setupRequest: (request) => ({
        ...request,
        headers: { ...request.headers, cookie: `auth_token=${draw()}; theme=dark` },
      }),
    },
  ],
})
const result: LoadResult = {
  requests: told.requests.total,
  requestsPerS: told.requests.total / told.duration,
  failed: told.non2xx + told.errors,
  p50Ms: told.latency.p50,
  p99Ms: told.latency.p99,
  p999Ms: told.latency.p99_9,
}
process.stdout.write(JSON.stringify(result))
