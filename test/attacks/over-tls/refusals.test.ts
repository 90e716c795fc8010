process.env.ATTACK_TRANSPORT = 'tls'
await import('../refusals.test.ts')
