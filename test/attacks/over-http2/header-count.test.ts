process.env.ATTACK_TRANSPORT = 'http2'
await import('../header-count.test.ts')
