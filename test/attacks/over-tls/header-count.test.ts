process.env.ATTACK_TRANSPORT = 'tls'
await import('../header-count.test.ts')
