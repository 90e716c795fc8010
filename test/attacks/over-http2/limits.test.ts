process.env.ATTACK_TRANSPORT = 'http2'
await import('../limits.test.ts')
