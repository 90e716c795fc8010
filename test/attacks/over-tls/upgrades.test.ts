process.env.ATTACK_TRANSPORT = 'tls'
await import('../upgrades.test.ts')
