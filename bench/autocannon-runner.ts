import { readFileSync } from 'node:fs'
import autocannon from 'autocannon'
import { type Load, type LoadResult, PATH } from './load-shape.ts'

const load = JSON.parse(process.argv[2]!) as Load
const tokens = readFileSync(load.tokensFile, 'utf8').trim().split('\n')
let state = load.seed >>> 0

/** Any fixed sequence will do; this is the linear congruential generator of Numerical Recipes. */
function drawToken(): string {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0
  return tokens[(state >>> 8) % tokens.length]!
}

const measured = await autocannon({
  url: `http://127.0.0.1:${load.port}`,
  connections: load.connections,
  duration: load.seconds,
  requests: [
    {
      method: 'GET',
      path: PATH,
      setupRequest: (request) => ({
        ...request,
        headers: { ...request.headers, cookie: `auth_token=${drawToken()}; theme=dark` },
      }),
    },
  ],
})
const result: LoadResult = {
  requests: measured.requests.total,
  requestsPerS: measured.requests.total / measured.duration,
  failed: measured.non2xx + measured.errors,
  p50Ms: measured.latency.p50,
  p99Ms: measured.latency.p99,
  p999Ms: measured.latency.p99_9,
}
process.stdout.write(JSON.stringify(result))
