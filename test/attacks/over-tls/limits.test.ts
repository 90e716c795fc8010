process.env.ATTACK_TRANSPORT = 'tls'
await import('../limits.test.ts')
