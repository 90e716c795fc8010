import * as parse from './parsers.ts'
import { group, milliseconds, variable } from './variable.ts'

/* How the processes run, end and log. */

const LEVELS = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'] as const

export const processes = group('Processes', 'How many processes run, and how they end.', {
  workers: variable<number | 'auto'>({
    name: 'WORKERS',
    parse: parse.workers,
    byDefault: 1,
    accepts: '`auto` or a whole number from 1 to 256',
    example: 'auto',
    description:
      'Processes that share the port; `auto` is one per core. `DATABASE_POOL_SIZE`, `LOOKUP_QUEUE_MAX`, `MAX_CONNECTIONS` and the limits of upstreams are for each.',
  }),
  drainDelayMs: milliseconds(
    'DRAIN_DELAY_MS',
    0,
    [0],
    'On SIGTERM the gateway is not ready at once, and goes on accepting this long, so that load balancers notice.',
  ),
  drainTimeoutMs: milliseconds(
    'DRAIN_TIMEOUT_MS',
    30_000,
    [0],
    'How long open exchanges may last once the delay is over; then they are closed, and the exit code is 0 all the same.',
  ),
})

export const logs = group('Logs', 'JSON lines on stdout.', {
  logLevel: variable({
    name: 'LOG_LEVEL',
    parse: parse.oneOf(...LEVELS),
    byDefault: 'info',
    accepts: `one of ${LEVELS.map((level) => `\`${level}\``).join(', ')}`,
    example: 'warn',
    description:
      'The lowest level that is written, except for the line `listening`, which always is. Access lines have the level `info`.',
  }),
  accessLog: variable<'off' | 'on' | 'all'>({
    name: 'ACCESS_LOG',
    parse: parse.oneOf('off', 'on', 'all'),
    byDefault: 'on',
    accepts: 'one of `off`, `on`, `all`',
    example: 'all',
    description:
      'Whether each exchange gets a line. With `on` the probes of load balancers (`healthz` and `readyz` below `GATEWAY_PATH`) get none; with `all` they do.',
  }),
})
