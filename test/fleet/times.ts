/** Patroni's times, in seconds: shorter than those of deploy/patroni, so that all faults fit into minutes. */
export const TIMES = { ttl: 10, loop_wait: 1, retry_timeout: 3 }
