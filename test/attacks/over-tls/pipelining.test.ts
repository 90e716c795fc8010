process.env.ATTACK_TRANSPORT = 'tls'
await import('../pipelining.test.ts')
