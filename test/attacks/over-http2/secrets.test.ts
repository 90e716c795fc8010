process.env.ATTACK_TRANSPORT = 'http2'
await import('../secrets.test.ts')
